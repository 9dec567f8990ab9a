package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// database is a MariaDB server of Debian's packages, with its data on an ext4 file system of its own. The file system is
// mounted in a mount namespace that only the server has, so that it goes away with it, however it ends.
type database struct {
	name   string
	device string // block device; everything on it is lost
	dir    string // below the run's directory: the mount point, and beside it the log
	port   int
	server *exec.Cmd
	ended  chan struct{} // closed when the server has
}

// common are the settings of every server: each commit is on the disk before it is answered.
var common = []string{"--no-defaults", "--user=mysql", "--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=1",
	"--innodb-flush-method=O_DIRECT", "--innodb-buffer-pool-size=128M", "--innodb-log-file-size=64M", "--innodb-doublewrite=1"}

// peerPrograms are what the databases need beside fio's loads, with the packages that have them.
var peerPrograms = map[string]string{"/usr/sbin/mariadbd": "mariadb-server", "/usr/bin/sysbench": "sysbench", "/usr/lib/galera/libgalera_smm.so": "galera-4",
	"/usr/bin/mariadb": "mariadb-client"}

func findDatabases() error {
	for path, name := range peerPrograms {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s is missing, which the measurements with databases need: apt-get install %s", path, name)
		}
	}
	return nil
}

// mounted is a command that sees the device's file system at the database's directory.
func (d *database) mounted(ctx context.Context, args ...string) *exec.Cmd {
	script := `mount -t ext4 "$1" "$2" && shift 2 && exec "$@"`
	c := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, "sh", d.device, d.dir}, args...)...)
	// A namespace of its own, of which nothing reaches the others.
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return c
}

// create makes the file system and an empty database.
func (d *database) create(ctx context.Context) error {
	if out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", d.device).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: make a file system on %s: %w: %s", d.name, d.device, err, out)
	}
	c := d.mounted(ctx, "mariadb-install-db", "--no-defaults", "--user=mysql", "--auth-root-authentication-method=normal", "--skip-test-db",
		"--innodb-log-file-size=64M", "--datadir="+d.data())
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: mariadb-install-db: %w: %s", d.name, err, out)
	}
	return nil
}

func (d *database) data() string { return filepath.Join(d.dir, "data") }
func (d *database) log() string  { return d.dir + ".log" }

// start runs the server and waits until it answers.
func (d *database) start(ctx context.Context, settings ...string) error {
	args := append([]string{"mariadbd"}, common...)
	args = append(args, "--datadir="+d.data(), "--socket="+filepath.Join(d.data(), "sock"), "--pid-file="+filepath.Join(d.data(), "pid"),
		"--port="+strconv.Itoa(d.port))
	d.server = d.mounted(ctx, append(args, settings...)...)
	log, err := os.Create(d.log())
	if err != nil {
		return err
	}
	defer log.Close()
	d.server.Stdout, d.server.Stderr = log, log
	if err := d.server.Start(); err != nil {
		return fmt.Errorf("%s: start mariadbd: %w", d.name, err)
	}
	d.ended = make(chan struct{})
	go func() {
		_ = d.server.Wait() // its log says why
		close(d.ended)
	}()
	return d.until(ctx, "SELECT 1", "1")
}

// until asks until the answer is the one wanted.
func (d *database) until(ctx context.Context, question, answer string) error {
	for deadline := time.Now().Add(patience); ; {
		got, err := d.ask(ctx, question)
		if err == nil && got == answer {
			return nil
		}
		select {
		case <-d.ended:
			return fmt.Errorf("%s: mariadbd has ended: %s", d.name, tail(d.log()))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollDatabase):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %s: still %q (%w) after %v; its log: %s", d.name, question, got, err, patience, tail(d.log()))
		}
	}
}

// ask gives a statement to the server, and returns the answer's text, without names of columns.
func (d *database) ask(ctx context.Context, statement string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var failure bytes.Buffer
	c := exec.CommandContext(ctx, "mariadb", "--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--port="+strconv.Itoa(d.port), "--user=root",
		"--batch", "--skip-column-names", "--execute="+statement)
	c.Stderr = &failure
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s", d.name, statement, err, bytes.TrimSpace(failure.Bytes()))
	}
	return string(bytes.TrimSpace(out)), nil
}

// stop ends the server; its data are of no more use.
func (d *database) stop() {
	if d.server == nil || d.server.Process == nil || d.ended == nil {
		return
	}
	_ = d.server.Process.Kill() // it may have ended
	<-d.ended
}

func tail(path string) string {
	const most = 4000
	text, err := os.ReadFile(path)
	if err != nil {
		return errors.Join(errors.New("no log"), err).Error()
	}
	return string(text[max(0, len(text)-most):])
}
