package checker

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// With the real server: hundreds of probes of either kind leave this host able to connect, although the server blocks
// hosts after three interrupted logins. The server treats 127.0.0.1 apart, so that the test needs an address on lo.
func TestProbesDoNotBlockTheHost(t *testing.T) {
	for _, tool := range []string{"mariadbd", "mariadb-install-db"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("MariaDB's server is not installed: %v", err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("an address on lo needs root")
	}
	const ip = "198.51.100.77"
	addLoopback(t, ip)
	addr := startMariaDB(t, ip)
	for _, kind := range []string{"tcp", "mysql"} {
		for range 40 {
			if err := check(addr, kind, "", patient); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
		}
		if err := check(addr, "mysql", "", patient); err != nil {
			t.Errorf("after probes of kind %s: %v", kind, err)
		}
	}
	for range 5 { // the net is real: this is what a simple-minded probe does
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		readPacket(conn)
		conn.Close()
	}
	deadline := time.Now().Add(patient)
	for check(addr, "mysql", "", patient) == nil {
		if time.Now().After(deadline) {
			t.Fatal("interrupted logins did not block the host: this test proves nothing")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func addLoopback(t *testing.T, ip string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(ip + "/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrReplace(lo, a); err != nil {
		t.Skipf("no address can be put on lo: %v", err)
	}
	t.Cleanup(func() { netlink.AddrDel(lo, a) })
}

// startMariaDB starts a server of its own and returns its address.
func startMariaDB(t *testing.T, ip string) string {
	t.Helper()
	dir := t.TempDir()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	out, err := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+data, "--user="+me.Username,
		"--auth-root-authentication-method=normal", "--skip-test-db").CombinedOutput()
	if err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, out)
	}
	sql := filepath.Join(dir, "init.sql")
	if err := os.WriteFile(sql, []byte("CREATE USER someone@'%' IDENTIFIED BY 'x';\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command("mariadbd", "--no-defaults", "--datadir="+data, "--user="+me.Username, "--socket="+filepath.Join(dir, "s"),
		"--pid-file="+filepath.Join(dir, "pid"), fmt.Sprint("--port=", port), "--bind-address="+ip, "--max-connect-errors=3",
		"--init-file="+sql, "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M")
	log := filepath.Join(dir, "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	addr := fmt.Sprintf("%s:%d", ip, port)
	deadline := time.Now().Add(60 * time.Second)
	for check(addr, "tcp", "", time.Second) != nil {
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log)
			t.Fatalf("MariaDB does not answer:\n%s", text)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return addr
}
