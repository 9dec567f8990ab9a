// Package rows is a database client that never stops inserting: it writes numbered rows through one address, keeps the
// number and time of every acknowledgement, and afterwards tells the outages it saw and the acknowledged rows that are
// missing. It is the lab's witness for "no acknowledged write is lost".
package rows

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Config says where and how to insert.
type Config struct {
	Addr     string // ADDRESS:PORT of the database as clients know it
	User     string
	Password string
	Database string
	Table    string
	// Dial opens connections, for a client inside a virtual host.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Every is the pause between an acknowledgement and the next insert.
	Every time.Duration
	// Journal gets a line {"id":N,"at":NANOSECONDS} for each acknowledgement, as it happens; may be empty.
	Journal string
}

// Ack is an acknowledged row.
type Ack struct {
	ID int64 `json:"id"`
	// At is the wall clock in nanoseconds when the acknowledgement had arrived.
	At int64 `json:"at"`
}

// Gap is a time without acknowledgements: from the last before to the first after.
type Gap struct {
	From, To time.Time
}

// Length is how long the gap was.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

const (
	// attemptTimeout bounds one insert, including a connection held by a balancer.
	attemptTimeout = 20 * time.Second
	// retryPause keeps a refused client from spinning.
	retryPause = 10 * time.Millisecond
)

// Client inserts rows until stopped.
type Client struct {
	cfg     Config
	db      *sql.DB
	journal *os.File
	cancel  context.CancelFunc
	done    chan struct{}

	mu     sync.Mutex
	next   int64
	acks   []Ack
	failed int
	err    error         // of the last failed attempt
	grown  chan struct{} // closed and replaced at every acknowledgement
}

// New makes a client; Prepare its table before Start.
func New(cfg Config) (*Client, error) {
	connector, err := mysql.NewConnector(driverConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("set up the row client: %w", err)
	}
	c := &Client{cfg: cfg, db: sql.OpenDB(connector), next: 1, grown: make(chan struct{})}
	c.db.SetMaxOpenConns(1)
	if cfg.Journal != "" {
		if c.journal, err = os.Create(cfg.Journal); err != nil {
			return nil, fmt.Errorf("make the journal of acknowledged rows: %w", err)
		}
	}
	return c, nil
}

func driverConfig(cfg Config) *mysql.Config {
	d := mysql.NewConfig()
	d.User, d.Passwd, d.DBName = cfg.User, cfg.Password, cfg.Database
	d.Net, d.Addr = "tcp", cfg.Addr
	d.DialFunc = cfg.Dial
	d.Logger = log.New(io.Discard, "", 0)
	return d
}

// Prepare makes the table, dropping an older one.
func (c *Client) Prepare(ctx context.Context) error {
	for _, q := range []string{
		"DROP TABLE IF EXISTS " + c.cfg.Table,
		"CREATE TABLE " + c.cfg.Table + " (id BIGINT PRIMARY KEY, at BIGINT NOT NULL) ENGINE=InnoDB",
	} {
		if _, err := c.db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("prepare table %s at %s: %w", c.cfg.Table, c.cfg.Addr, err)
		}
	}
	return nil
}

// Start inserts in the background until Stop.
func (c *Client) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel, c.done = cancel, make(chan struct{})
	go func() {
		defer close(c.done)
		for ctx.Err() == nil {
			c.insert(ctx)
		}
	}()
}

// insert tries one row. A failed attempt has an unknown outcome: its number is never used again.
func (c *Client) insert(ctx context.Context) {
	id := c.next
	c.next++
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	_, err := c.db.ExecContext(attempt, "INSERT INTO "+c.cfg.Table+" VALUES (?, ?)", id, time.Now().UnixNano())
	cancel()
	pause := c.cfg.Every
	if err != nil {
		c.fail(err)
		pause = retryPause
	} else {
		c.ack(Ack{ID: id, At: time.Now().UnixNano()})
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed++
	if !errors.Is(err, context.Canceled) {
		c.err = err
	}
}

// Failed is how many attempts have failed so far, and why the last did.
func (c *Client) Failed() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed, c.err
}

func (c *Client) ack(a Ack) {
	c.mu.Lock()
	c.acks = append(c.acks, a)
	close(c.grown)
	c.grown = make(chan struct{})
	c.mu.Unlock()
	if c.journal != nil {
		line, _ := json.Marshal(a) // two integers always encode
		if _, err := c.journal.Write(append(line, '\n')); err != nil {
			c.fail(fmt.Errorf("journal: %w", err))
		}
	}
}

// Stop ends the inserting and waits for the insert under way.
func (c *Client) Stop() {
	if c.cancel != nil {
		c.cancel()
		<-c.done
		c.cancel = nil
	}
}

// Close stops the client and closes its files.
func (c *Client) Close() error {
	c.Stop()
	_ = c.db.Close() // an idle connection may have been reset under it
	if c.journal != nil {
		return c.journal.Close()
	}
	return nil
}

// Acks is a copy of all acknowledgements so far, in order.
func (c *Client) Acks() []Ack {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Ack(nil), c.acks...)
}

// AwaitAckAfter waits for an acknowledgement of a row that was begun and acknowledged after t.
func (c *Client) AwaitAckAfter(ctx context.Context, t time.Time) error {
	for {
		c.mu.Lock()
		n, grown, last := len(c.acks), c.grown, c.err
		ok := n > 0 && c.acks[n-1].At > t.UnixNano()
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("no row was acknowledged through %s since %s (last error: %v): %w", c.cfg.Addr, t.Format(time.TimeOnly), last, ctx.Err())
		}
	}
}

// LongestGap is the longest time without an acknowledgement that ends after from and begins before to.
func LongestGap(acks []Ack, from, to time.Time) Gap {
	var longest Gap
	for i := 1; i < len(acks); i++ {
		a, b := acks[i-1].At, acks[i].At
		if b < from.UnixNano() || a > to.UnixNano() {
			continue
		}
		if g := (Gap{time.Unix(0, a), time.Unix(0, b)}); g.Length() > longest.Length() {
			longest = g
		}
	}
	return longest
}

// Missing lists the acknowledged rows that the database does not have.
func (c *Client) Missing(ctx context.Context) ([]int64, error) {
	found, err := c.stored(ctx)
	if err != nil {
		return nil, fmt.Errorf("read back table %s at %s: %w", c.cfg.Table, c.cfg.Addr, err)
	}
	var missing []int64
	for _, a := range c.Acks() {
		if !found[a.ID] {
			missing = append(missing, a.ID)
		}
	}
	return missing, nil
}

func (c *Client) stored(ctx context.Context) (map[int64]bool, error) {
	rows, err := c.db.QueryContext(ctx, "SELECT id FROM "+c.cfg.Table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		found[id] = true
	}
	return found, rows.Err()
}
