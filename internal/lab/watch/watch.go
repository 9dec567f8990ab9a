// Package watch looks at both database hosts of a lab from inside, all the time: it inserts into whatever database accepts
// it there and asks the volume for its role. Afterwards it says which acknowledged inserts are lost, and whether two hosts
// have served at the same time.
package watch

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"

	"holdfast/internal/api"
	"holdfast/internal/clock"
	"holdfast/internal/guard/leasepage"
	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/tutorial"
	"holdfast/internal/paths"
)

const (
	// lookEvery is the pause between two looks.
	lookEvery = 50 * time.Millisecond
	// writeLimit bounds a write of the watcher, which may wait out a frozen host.
	writeLimit = 2 * time.Minute
	// askLimit bounds a question to a daemon.
	askLimit = 2 * time.Second
)

// tenure is a time in which one host has certainly served without interruption: a database on one connection, or a
// volume as Primary in one epoch. It has served at some moment before `from` (the end of the first observation) and at
// some moment after `to` (the beginning of the last), and so all the time between.
type tenure struct {
	host, what string
	from, to   time.Time
}

// Watch looks at both database hosts from inside, all the time: it inserts into whatever database accepts it there, not
// through the balancer, and asks the volume for its role.
type Watch struct {
	lab    *lab.Lab
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu      sync.Mutex
	tenures []*tenure
	acked   []string
	seen    chan struct{} // closed with the first write acknowledged
}

// Table is the watcher's table in the tutorial's database.
const Table = "holdfast_watch"

// New makes the watcher's table through the balancer, starts looking, and waits until a database has acknowledged a first
// write: only then can the watch prove anything.
func New(ctx context.Context, l *lab.Lab) (*Watch, error) {
	w := &Watch{lab: l, seen: make(chan struct{})}
	db, err := w.open(l.Host(tutorial.Client), tutorial.DatabaseAddr)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for _, q := range []string{"DROP TABLE IF EXISTS " + Table, "CREATE TABLE " + Table + " (id VARCHAR(64) PRIMARY KEY) ENGINE=InnoDB"} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return nil, fmt.Errorf("prepare the watcher's table: %w", err)
		}
	}
	looking, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	for _, name := range []string{tutorial.DB1, tutorial.DB2} {
		h := l.Host(name)
		w.all.Go(func() { w.writes(looking, h) })
		w.all.Go(func() { w.asks(looking, h) })
	}
	ctx, cancelWait := context.WithTimeout(ctx, writeLimit)
	defer cancelWait()
	select {
	case <-w.seen:
		return w, nil
	case <-ctx.Done():
		w.Stop()
		return nil, fmt.Errorf("wait for a first write on a database host itself: %w", ctx.Err())
	}
}

// Stop ends the looking and waits for the look under way.
func (w *Watch) Stop() {
	w.cancel()
	w.all.Wait()
}

// open prepares connections from a host to a database.
func (w *Watch) open(from *lab.Host, addr string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = tutorial.DatabaseUser, tutorial.DatabasePass, tutorial.DatabaseName
	c.Net, c.Addr, c.DialFunc = "tcp", addr, from.DialContext
	c.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(-1) // a closed one is closed
	return db, nil
}

// observe adds an observation to a tenure, or begins it.
func (w *Watch) observe(t *tenure, begun, ended time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.from.IsZero() {
		t.from = ended
		w.tenures = append(w.tenures, t)
	}
	t.to = begun
}

// pause waits until the next look.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(lookEvery):
	}
}

// writes inserts into the host's own database, one connection after the other.
func (w *Watch) writes(ctx context.Context, h *lab.Host) {
	db, err := w.open(h, "127.0.0.1:3306")
	if err != nil {
		return // New has opened one with the same settings
	}
	defer db.Close()
	for n := 0; ctx.Err() == nil; pause(ctx) {
		if !h.Running() || h.Frozen() {
			continue
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			continue
		}
		w.writeOn(ctx, h, conn, &n)
		conn.Close()
	}
}

// writeOn inserts on one connection, and so into one database server, until it fails.
func (w *Watch) writeOn(ctx context.Context, h *lab.Host, conn *sql.Conn, n *int) {
	t := &tenure{host: h.Name(), what: fmt.Sprintf("the database (connection of row %d)", *n)}
	for ctx.Err() == nil {
		*n++
		id := fmt.Sprintf("%s-%d", h.Name(), *n)
		attempt, cancel := context.WithTimeout(ctx, writeLimit)
		begun := time.Now()
		_, err := conn.ExecContext(attempt, "INSERT INTO "+Table+" VALUES ('"+id+"')")
		cancel()
		if err != nil {
			return
		}
		w.observe(t, begun, time.Now())
		w.acknowledged(id)
		pause(ctx)
	}
}

func (w *Watch) acknowledged(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.acked) == 0 {
		close(w.seen)
	}
	w.acked = append(w.acked, id)
}

// asks follows the role of the host's volume, as long as its lease lasts.
func (w *Watch) asks(ctx context.Context, h *lab.Host) {
	var t *tenure
	epoch := uint64(0)
	for ; ctx.Err() == nil; pause(ctx) {
		begun := time.Now()
		st, ok := w.primary(ctx, h)
		if !ok {
			continue
		}
		if t == nil || st.Epoch != epoch {
			t, epoch = &tenure{host: h.Name(), what: fmt.Sprintf("the volume as Primary in epoch %d", st.Epoch)}, st.Epoch
		}
		w.observe(t, begun, time.Now())
	}
}

// primary asks for the volume's state; ok tells whether it is Primary with a lease that still lasted afterwards.
func (w *Watch) primary(ctx context.Context, h *lab.Host) (st api.VolumeStatus, ok bool) {
	if !h.Running() || h.Frozen() {
		return st, false
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	st, err := demo.Volume(ctx, h, tutorial.Volume)
	if err != nil || st.Role != "Primary" || !st.Bound {
		return st, false
	}
	page, err := leasepage.Open(h.Path(paths.Root("/").LeasePage()))
	if err != nil {
		return st, false
	}
	defer page.Close()
	return st, page.Deadline() > boottime()
}

// boottime is the clock of leases; virtual hosts share it with the machine.
func boottime() clock.Boottime {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("watch: CLOCK_BOOTTIME: " + err.Error())
	}
	return clock.Boottime(ts.Nano())
}

// Verdict says what of the watcher's acknowledged writes is not there, and which hosts have served at the same time.
func (w *Watch) Verdict(ctx context.Context) error {
	w.mu.Lock()
	acked := slices.Clone(w.acked)
	var tenures []tenure
	for _, t := range w.tenures {
		tenures = append(tenures, *t)
	}
	w.mu.Unlock()
	if len(acked) == 0 || len(tenures) == 0 {
		return errors.New("the watcher has seen nothing: it proves nothing")
	}
	missing, err := w.missing(ctx, acked)
	if err != nil {
		return err
	}
	var bad []error
	if len(missing) > 0 {
		bad = append(bad, fmt.Errorf("%d writes that a host's own database acknowledged are lost: %s", len(missing), strings.Join(missing[:min(5, len(missing))], " ")))
	}
	return errors.Join(append(bad, overlaps(tenures)...)...)
}

func (w *Watch) missing(ctx context.Context, acked []string) ([]string, error) {
	db, err := w.open(w.lab.Host(tutorial.Client), tutorial.DatabaseAddr)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	found := map[string]bool{}
	stored, err := db.QueryContext(ctx, "SELECT id FROM "+Table)
	if err != nil {
		return nil, fmt.Errorf("read back the watcher's table: %w", err)
	}
	defer stored.Close()
	for stored.Next() {
		var id string
		if err := stored.Scan(&id); err != nil {
			return nil, err
		}
		found[id] = true
	}
	return slices.DeleteFunc(acked, func(id string) bool { return found[id] }), stored.Err()
}

// overlaps finds pairs of tenures of different hosts that were at the same time.
func overlaps(tenures []tenure) []error {
	var bad []error
	for i, a := range tenures {
		for _, b := range tenures[:i] {
			if a.host != b.host && a.from.Before(b.to) && b.from.Before(a.to) {
				bad = append(bad, fmt.Errorf("two at once: %s and %s", a, b))
			}
		}
	}
	return bad
}

// String is the tenure for people.
func (t tenure) String() string {
	return fmt.Sprintf("%s on %s, %s to %s", t.what, t.host, t.from.Format("15:04:05.000"), t.to.Format("15:04:05.000"))
}
