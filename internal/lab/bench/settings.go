package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"holdfast/internal/loopdev"
)

// settings are the databases that are compared: on the plain device, on the volume, and two pairs that replicate by
// themselves, each server with a plain loop device of its own on the same disk.
type settings struct {
	run     *run
	plain   *database
	ours    *database
	before  *database // on the volume of an earlier program; nil if there is none
	source  *database // of the semi-synchronous pair
	replica *database
	galera  [2]*database
	loops   []*loopdev.Device
}

// prepare brings every database up, with sysbench's tables in it.
func (s *settings) prepare(ctx context.Context) error {
	s.run.say("bringing up the databases")
	if err := os.Chmod(s.run.dir, 0o711); err != nil { // the servers run as mysql: rsync, which Galera uses, gives root's rights up
		return err
	}
	for _, step := range []func(context.Context) error{s.onDevices, s.semiSync, s.galeraPair} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	for _, d := range []*database{s.plain, s.ours, s.before, s.source, s.galera[0]} {
		if d == nil {
			continue
		}
		if _, err := d.ask(ctx, "CREATE DATABASE bench"); err != nil {
			return err
		}
		if _, err := d.sysbench(ctx, "prepare", 1, 0); err != nil {
			return err
		}
	}
	return s.replicated(ctx)
}

// add makes a database that is stopped at the end; it is not started.
func (s *settings) add(into **database, name, device string) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	*into = &database{name: name, device: device, dir: filepath.Join(s.run.dir, "db-"+name), port: ports[0]}
	return os.MkdirAll((*into).dir, 0o755)
}

// addNew is add, with an empty database on the device.
func (s *settings) addNew(ctx context.Context, into **database, name, device string) error {
	if err := s.add(into, name, device); err != nil {
		return err
	}
	return (*into).create(ctx)
}

// addLoop is addNew on a plain loop device of its own.
func (s *settings) addLoop(ctx context.Context, into **database, name string) error {
	loop, err := plainLoop(filepath.Join(s.run.dir, name), int64(s.run.cfg.SizeMiB)<<20)
	if err != nil {
		return err
	}
	s.loops = append(s.loops, loop)
	return s.addNew(ctx, into, name, loop.Path)
}

// plainLoop attaches a new file, written from end to end, to a loop device with direct I/O.
func plainLoop(path string, size int64) (*loopdev.Device, error) {
	if err := writeFile(path, size); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	return loopdev.Attach(loopdev.Config{FD: fd, Name: "bench-plain", BlockSize: 4096})
}

func (s *settings) onDevices(ctx context.Context) error {
	if err := s.addNew(ctx, &s.plain, "plain", s.run.plain.Path); err != nil {
		return err
	}
	for _, x := range []struct {
		into **database
		name string
		pair *pair
	}{{&s.ours, "volume", s.run.pair}, {&s.before, "volume-before", s.run.prior}} {
		if x.pair == nil {
			continue
		}
		device, err := x.pair.a.device()
		if err == nil {
			err = s.addNew(ctx, x.into, x.name, device)
		}
		if err == nil {
			err = (*x.into).start(ctx)
		}
		if err != nil {
			return err
		}
	}
	return s.plain.start(ctx)
}

// semiSync makes a pair of which the source answers a commit when the replica has written it to its relay log. With the
// server's default, the relay log is not synced then: less than a replicated volume promises. With sync_relay_log=1, which
// promises as much, each event is synced by itself.
func (s *settings) semiSync(ctx context.Context) error {
	if err := s.addLoop(ctx, &s.source, "semisync-source"); err != nil {
		return err
	}
	if err := s.addLoop(ctx, &s.replica, "semisync-replica"); err != nil {
		return err
	}
	if err := s.source.start(ctx, "--server-id=1", "--log-bin=log", "--binlog-format=ROW", "--sync-binlog=1", "--rpl-semi-sync-master-enabled=1",
		"--rpl-semi-sync-master-wait-point=AFTER_SYNC", "--rpl-semi-sync-master-timeout=3600000"); err != nil {
		return err
	}
	if err := s.replica.start(ctx, "--server-id=2", "--rpl-semi-sync-slave-enabled=1", "--relay-log=relay"); err != nil {
		return err
	}
	// Not through the log: with nobody to acknowledge it, it would wait for the replica that it is to let in.
	if _, err := s.source.ask(ctx, "SET sql_log_bin = 0; GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1' IDENTIFIED BY 'repl'"); err != nil {
		return err
	}
	position, err := s.source.ask(ctx, "SELECT @@gtid_current_pos")
	if err != nil {
		return err
	}
	_, err = s.replica.ask(ctx, fmt.Sprintf("SET GLOBAL gtid_slave_pos = '%s'; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, "+
		"MASTER_USER='repl', MASTER_PASSWORD='repl', MASTER_USE_GTID=slave_pos; START SLAVE", position, s.source.port))
	if err != nil {
		return err
	}
	return s.source.until(ctx, statusOf("Rpl_semi_sync_master_clients"), "1")
}

// statusOf asks for a status variable's value.
func statusOf(name string) string {
	return "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = '" + name + "'"
}

// galeraPair makes a cluster of two. The second begins with a copy of the first's disk, taken when it had been shut down, so
// that it needs no state transfer.
func (s *settings) galeraPair(ctx context.Context) error {
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	first, second := &s.galera[0], &s.galera[1]
	if err := s.addLoop(ctx, first, "galera-1"); err != nil {
		return err
	}
	if err := (*first).startGalera(ctx, "gcomm://", ports[:2]); err != nil {
		return err
	}
	if _, err := (*first).ask(ctx, "SHUTDOWN"); err != nil {
		return err
	}
	select {
	case <-(*first).ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	loop, err := plainLoop(filepath.Join(s.run.dir, "galera-2"), int64(s.run.cfg.SizeMiB)<<20)
	if err != nil {
		return err
	}
	s.loops = append(s.loops, loop)
	out, err := exec.CommandContext(ctx, "dd", "if="+(*first).device, "of="+loop.Path, "bs=1M", "iflag=direct", "oflag=direct").CombinedOutput()
	if err != nil {
		return fmt.Errorf("galera-2: copy the first's disk: %w: %s", err, out)
	}
	if err := s.add(second, "galera-2", loop.Path); err != nil {
		return err
	}
	if err := (*first).startGalera(ctx, "gcomm://", ports[:2]); err != nil {
		return err
	}
	if err := (*second).startGalera(ctx, "gcomm://127.0.0.1:"+strconv.Itoa(ports[0]), ports[2:]); err != nil {
		return fmt.Errorf("%w; the log of the first: %s", err, tail((*first).log()))
	}
	return (*first).until(ctx, statusOf("wsrep_cluster_size"), "2")
}

// startGalera runs a node that listens for the others on the first port, and for what it has missed on the second.
func (d *database) startGalera(ctx context.Context, cluster string, ports []int) error {
	address := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	err := d.start(ctx, "--server-id="+strconv.Itoa(ports[0]), "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON",
		"--wsrep-provider=/usr/lib/galera/libgalera_smm.so", "--wsrep-cluster-name=bench", "--wsrep-cluster-address="+cluster,
		"--wsrep-node-name="+d.name, "--wsrep-node-address="+address(ports[0]), "--wsrep-sst-method=rsync",
		"--wsrep-provider-options=gmcast.listen_addr=tcp://"+address(ports[0])+";ist.recv_addr="+address(ports[1]))
	if err != nil {
		return err
	}
	return d.until(ctx, statusOf("wsrep_local_state_comment"), "Synced")
}

// replicated waits until the pairs' second servers have what sysbench has made.
func (s *settings) replicated(ctx context.Context) error {
	const tables = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'bench'"
	for _, d := range []*database{s.replica, s.galera[1]} {
		if err := d.until(ctx, tables, strconv.Itoa(sysbenchTables)); err != nil {
			return err
		}
		last := fmt.Sprintf("SELECT COUNT(*) FROM bench.sbtest%d", sysbenchTables)
		if err := d.until(ctx, last, strconv.Itoa(sysbenchRows)); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the servers and takes their devices away.
func (s *settings) stop() {
	for _, d := range []*database{s.galera[1], s.galera[0], s.replica, s.source, s.before, s.ours, s.plain} {
		if d != nil {
			d.stop()
		}
	}
	for _, l := range s.loops {
		l.Release()
	}
}
