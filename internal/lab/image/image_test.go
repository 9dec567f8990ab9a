package image

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/lab/guest"
)

func TestHostsFile(t *testing.T) {
	got := hostsFile(map[string]string{"b": "10.0.1.5", "a": "10.0.1.4"})
	if want := "127.0.0.1 localhost\n10.0.1.4 a\n10.0.1.5 b\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// filled puts a host's tree together in a temporary directory.
func filled(t *testing.T, o Options) tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("copying owners needs root")
	}
	if _, err := os.Stat("/usr/sbin/nginx"); err != nil {
		t.Skip("the tutorial's packages are not installed: run scripts/setup")
	}
	tr := tree{dir: t.TempDir()}
	if err := tr.fill(o); err != nil {
		t.Fatal(err)
	}
	return tr
}

func (t tree) read(tb testing.TB, path string) string {
	tb.Helper()
	data, err := os.ReadFile(t.at(path))
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func TestDatabaseTree(t *testing.T) {
	tr := filled(t, Options{
		Name: "db1", Role: Database, Addresses: map[string]string{"db1": "10.0.1.4"}, StateDir: "/var/lib/holdfast-lab",
		Services: []guest.Service{{Name: "holdfast", Argv: []string{"holdfast", "daemon"}, AtBoot: true}},
	})
	for path, want := range map[string]string{
		"/etc/hostname": "db1\n", "/etc/resolv.conf": "", "/etc/fstab": "", "/etc/mysql/my.cnf": "",
	} {
		if got := tr.read(t, path); got != want {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{databaseDir, "/var/lib/holdfast-lab", "/var/lib/dpkg/status", "/var/cache/apt"} {
		if _, err := os.Lstat(tr.at(path)); err == nil {
			t.Errorf("%s is in the image", path)
		}
	}
	if target, err := os.Readlink(tr.at("/var/run")); err != nil || target != "/run" {
		t.Errorf("/var/run points to %q (%v)", target, err)
	}
	var services []guest.Service
	if err := json.Unmarshal([]byte(tr.read(t, guest.ServicesFile)), &services); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
		if s.Name != "holdfast" && s.AtBoot {
			t.Errorf("%s starts at boot; the cluster is to run it", s.Name)
		}
	}
	if got := strings.Join(names, " "); got != "holdfast drbd mariadb" {
		t.Errorf("services %s", got)
	}
	if !strings.Contains(tr.read(t, "/etc/passwd"), "\nhacluster:") {
		t.Error("there is no user hacluster")
	}
	if err := exec.Command("sh", "-n", tr.at(startMariaDBPath)).Run(); err != nil {
		t.Errorf("the start script is no shell script: %v", err)
	}
}

func TestWebTree(t *testing.T) {
	tr := filled(t, Options{Name: "web1", Role: Web, DatabaseAddress: "10.0.1.10", StateDir: "/var/lib/holdfast-lab"})
	config := tr.read(t, "/etc/wordpress/config-default.php")
	for _, want := range []string{"'DB_NAME', 'wordpress'", "'DB_USER', 'wpuser'", "'DB_PASSWORD', 'wppassword'", "'DB_HOST', '10.0.1.10'"} {
		if !strings.Contains(config, want) {
			t.Errorf("WordPress's configuration lacks %s", want)
		}
	}
	if _, err := os.Lstat(tr.at("/etc/nginx/sites-enabled/default")); err == nil {
		t.Error("Debian's default site is still enabled and would take port 80")
	}
	if !strings.Contains(tr.read(t, "/etc/nginx/conf.d/default.conf"), "fastcgi_pass   127.0.0.1:9000;") {
		t.Error("nginx does not pass PHP to where php-fpm listens")
	}
	if !strings.Contains(tr.read(t, fpmConfigurationPath), "listen = 127.0.0.1:9000") {
		t.Error("php-fpm does not listen where nginx looks")
	}
}

// TestClusterUserIsAdded checks a machine that has no hacluster of its own.
func TestClusterUserIsAdded(t *testing.T) {
	tr := filled(t, Options{Name: "x", Role: Plain})
	for _, file := range []string{"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow"} {
		var kept []string
		for _, line := range strings.Split(tr.read(t, file), "\n") {
			if !strings.HasPrefix(line, "hacluster:") {
				kept = append(kept, line)
			}
		}
		if err := tr.write(file, strings.Join(kept, "\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.clusterUser(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(tr.read(t, "/etc/passwd"), "\nhacluster:") || !strings.Contains(tr.read(t, "/etc/shadow"), "\nhacluster:!") {
		t.Error("hacluster was not added with a locked password")
	}
}

// TestBuild makes an image and has e2fsck look at it.
func TestBuild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("copying owners needs root")
	}
	path := filepath.Join(t.TempDir(), "system.img")
	o := Options{Path: path, Bytes: 128 << 20, Name: "x", Role: Plain}
	if err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	if _, err := os.Stat(path + ".tree"); err == nil {
		t.Error("the tree was left behind")
	}
	if err := Build(t.Context(), o); err == nil {
		t.Error("an image was made over an existing one")
	}
}
