package image

import (
	"fmt"
	"os"

	"holdfast/internal/lab/guest"
)

// The places CentOS gives MariaDB, which the tutorial's resource line names.
const (
	databaseDir    = "/var/lib/mysql"
	databaseSocket = databaseDir + "/mysql.sock"
	databaseRun    = "/run/mariadb"
)

// myCnf is the /etc/my.cnf that the tutorial's resource line names. Debian's server reads it too, before its own files, so
// those are emptied (see database).
const myCnf = `# Written by the lab: the places of CentOS's package, as the tutorial names them.
[client]
socket=` + databaseSocket + `

[mysqld]
datadir=` + databaseDir + `
socket=` + databaseSocket + `
pid-file=/var/run/mariadb/mariadb.pid
user=mysql
symbolic-links=0
bind-address=0.0.0.0
skip-name-resolve
character-set-server=utf8mb4
innodb_buffer_pool_size=64M
innodb_log_file_size=32M
innodb_flush_log_at_trx_commit=1
performance_schema=OFF

[mysqld_safe]
log-error=/var/log/mariadb/mariadb.log
pid-file=/var/run/mariadb/mariadb.pid
`

// startMariaDB is what CentOS's unit does before the server starts: it fills an empty data directory.
const startMariaDB = `#!/bin/sh
# Written by the lab. Fills an empty data directory, as CentOS's mariadb.service does before it starts the server.
set -e
mkdir -p ` + databaseDir + `
chown mysql:mysql ` + databaseDir + `
if [ ! -d ` + databaseDir + `/mysql ]; then
	mariadb-install-db --user=mysql --skip-test-db --datadir=` + databaseDir + ` >/dev/null
fi
# mysql_secure_installation reads no /etc/my.cnf and looks where Debian's client was built to look.
ln -sfn ` + databaseSocket + ` /run/mysqld/mysqld.sock
exec /usr/bin/mysqld_safe --defaults-file=/etc/my.cnf
`

const startMariaDBPath = guest.ConfigDir + "/start-mariadb"

// database gives a database host MariaDB's configuration. Its data directory is left for the tutorial to make.
func (t tree) database() error {
	if err := os.RemoveAll(t.at(databaseDir)); err != nil {
		return err
	}
	files := []struct {
		path, content string
		mode          os.FileMode
	}{
		{"/etc/my.cnf", myCnf, 0o644},
		{"/etc/mysql/my.cnf", "", 0o644},
		{"/etc/mysql/mariadb.cnf", "", 0o644},
		{startMariaDBPath, startMariaDB, 0o755},
	}
	for _, f := range files {
		if err := t.write(f.path, f.content, f.mode); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	// Debian's place is where Debian's resource agent has the server log.
	if err := t.ownedDirectory("/var/log/mysql", "mysql", 0o755); err != nil {
		return err
	}
	return t.ownedDirectory("/var/log/mariadb", "mysql", 0o755)
}

func databaseDirectories() []guest.Directory {
	return []guest.Directory{
		{Path: databaseRun, Owner: "mysql", Mode: 0o755},
		{Path: "/run/mysqld", Owner: "mysql", Mode: 0o755},
	}
}

// databaseServices are what the tutorial's systemctl and service lines name. The cluster runs MariaDB later, so that it
// does not start at boot.
func databaseServices() []guest.Service {
	return []guest.Service{
		{
			Name: "drbd", Oneshot: true, Managed: "the holdfast daemon",
			Argv: []string{"drbdadm", "up", "all"}, Stop: []string{"drbdadm", "down", "all"},
		},
		{
			Name: "mariadb", Aliases: []string{"mysql", "mysqld"}, Managed: "the cluster",
			Argv: []string{startMariaDBPath}, Stop: []string{"mysqladmin", "shutdown"}, Ready: []string{"mysqladmin", "ping"},
		},
	}
}
