package lab_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"holdfast/internal/lab"
)

// TestTutorialServices runs the tutorial's software in the hosts without any cluster: MariaDB on a file system on the data
// disk, started as the tutorial types it, and WordPress's installer served by nginx and php-fpm from that database.
func TestTutorialServices(t *testing.T) {
	l := up(t, lab.Config{Name: "services"})
	db := l.Host("lqi1ecmy01")
	sh(t, db, "mkfs.ext3 -q /dev/sdc && mkdir /var/lib/mysql && mount /dev/sdc /var/lib/mysql/")
	sh(t, db, "service mariadb start")
	sh(t, db, `mysql -u root -e "create database wordpress; create user 'wpuser'@'%' identified by 'wppassword';
		grant all privileges on wordpress.* to 'wpuser'@'%'; flush privileges"`)
	if got := sh(t, db, "ls -d /var/lib/mysql/mysql.sock /var/run/mariadb/mariadb.pid; systemctl is-active mariadb.service"); !strings.HasSuffix(got, "active") {
		t.Errorf("MariaDB's places: %s", got)
	}
	sh(t, db, "ip addr add 10.0.1.10/32 dev eth0") // what the balancer will be for
	client := l.Host("client").HTTPClient()
	for _, web := range []string{"lqi1ecmy03", "lqi1ecmy04"} {
		resp, err := client.Get("http://" + web + "/wp-admin/install.php")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "weblog_title") && !strings.Contains(string(body), "language") {
			t.Errorf("%s: status %s, error %v, %.300s", web, resp.Status, err, body)
		}
	}
	sh(t, db, "systemctl stop mariadb.service && umount /var/lib/mysql/")
	if r, err := db.Exec(t.Context(), "systemctl", "is-active", "mariadb"); err != nil || r.Code != 3 || r.Stdout != "inactive\n" {
		t.Errorf("after the stop: %+v, %v", r, err)
	}
	if r, err := db.Exec(t.Context(), "systemctl", "start", "nonsense"); err != nil || r.Code != 5 {
		t.Errorf("an unknown unit: %+v, %v", r, err)
	}
}

// TestServiceRestart checks that PID 1 starts a service again that dies, and does not when it has been stopped.
func TestServiceRestart(t *testing.T) {
	l := up(t, lab.Config{Name: "restart", Daemon: []string{"sleep", "1000"}})
	h := l.Host("client")
	pid := func() int {
		s, err := h.Service(t.Context(), "status", "holdfast")
		if err != nil {
			t.Fatal(err)
		}
		return s[0].PID
	}
	first := pid()
	sh(t, h, "kill -9 $(pidof sleep)")
	eventually(t, "the service runs again", func() bool { p := pid(); return p != 0 && p != first })
	if _, err := h.Service(t.Context(), "stop", "pcsd"); err != nil {
		t.Fatal(err)
	}
	if got := pid(); got != 0 {
		t.Errorf("the stopped service has pid %d", got)
	}
	sh(t, h, "systemctl enable corosync pacemaker && service pacemaker start")
	if pid() == 0 {
		t.Error("the service did not start again")
	}
	if got := sh(t, h, "(sleep 0.01 &) ; sleep 0.1; ps -eo stat | grep -c Z || true"); got != "0" {
		t.Errorf("%s zombies", got)
	}
}
