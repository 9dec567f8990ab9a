package nemesis

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"holdfast/internal/lab"
	"holdfast/internal/lab/tutorial"
)

// The clients that use rows as registers, through the balancer.
const (
	registerTable   = "holdfast_registers"
	registers       = 16
	registerClients = 4
	registerPause   = 40 * time.Millisecond
	// registerLimit bounds one operation, with a connection held by the balancer.
	registerLimit = 30 * time.Second
)

// registerClient reads and writes rows, each a register, from two hosts, and records what it saw.
type registerClient struct {
	history *History
	dbs     []*sql.DB
	cancel  context.CancelFunc
	all     sync.WaitGroup
}

// newRegisters makes the table and starts the clients.
func newRegisters(ctx context.Context, l *lab.Lab) (*registerClient, error) {
	r := &registerClient{history: NewHistory("rows through the balancer")}
	for _, from := range []string{tutorial.Client, tutorial.Web2} {
		db, err := openDatabase(l.Host(from))
		if err != nil {
			return nil, err
		}
		r.dbs = append(r.dbs, db)
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	for i := range registerClients {
		r.all.Go(func() { r.run(running, i, r.dbs[i%len(r.dbs)]) })
	}
	return r, nil
}

func openDatabase(from *lab.Host) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = tutorial.DatabaseUser, tutorial.DatabasePass, tutorial.DatabaseName
	c.Net, c.Addr, c.DialFunc = "tcp", tutorial.DatabaseAddr, from.DialContext
	c.Logger = log.New(io.Discard, "", 0)
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("set up a client on %s: %w", from.Name(), err)
	}
	return sql.OpenDB(connector), nil
}

func (r *registerClient) prepare(ctx context.Context) error {
	queries := []string{
		"DROP TABLE IF EXISTS " + registerTable,
		"CREATE TABLE " + registerTable + " (k INT PRIMARY KEY, v BIGINT NOT NULL, looks BIGINT NOT NULL) ENGINE=InnoDB",
	}
	for k := range registers {
		queries = append(queries, fmt.Sprintf("INSERT INTO %s VALUES (%d, 0, 0)", registerTable, k))
	}
	for _, q := range queries {
		if _, err := r.dbs[0].ExecContext(ctx, q); err != nil {
			return fmt.Errorf("prepare the registers: %s: %w", q, err)
		}
	}
	return nil
}

func (r *registerClient) stop() {
	r.cancel()
	r.all.Wait()
	for _, db := range r.dbs {
		_ = db.Close() // an idle connection may have been reset under it
	}
}

func (r *registerClient) run(ctx context.Context, client int, db *sql.DB) {
	for ctx.Err() == nil {
		r.once(ctx, client, db)
		select {
		case <-ctx.Done():
		case <-time.After(registerPause):
		}
	}
}

// once makes one operation. Which one, is not part of the schedule: the fault's moment is not repeatable to the microsecond
// either.
func (r *registerClient) once(ctx context.Context, client int, db *sql.DB) {
	ctx, cancel := context.WithTimeout(ctx, registerLimit)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return // nothing was asked
	}
	defer conn.Close()
	op := Op{Client: client, Register: rand.IntN(registers), Write: rand.IntN(2) == 0, Call: r.history.Now()}
	if op.Write {
		op.Value = r.history.Fresh()
		_, err = conn.ExecContext(ctx, fmt.Sprintf("UPDATE %s SET v=%d WHERE k=%d", registerTable, op.Value, op.Register))
	} else {
		op.Value, err = look(ctx, conn, op.Register)
	}
	op.Return = r.history.Now()
	switch {
	case err == nil:
		r.history.Add(op)
	case op.Write:
		op.Return = math.MaxInt64
		r.history.Add(op)
	}
}

// look reads a register in a transaction that writes: a plain read may see a commit that InnoDB has not made durable yet,
// and that a power cut undoes. This one's own commit makes durable all that it has seen.
func look(ctx context.Context, conn *sql.Conn, register int) (int64, error) {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	var value int64
	err = tx.QueryRowContext(ctx, fmt.Sprintf("SELECT v FROM %s WHERE k=%d FOR UPDATE", registerTable, register)).Scan(&value)
	if err == nil {
		_, err = tx.ExecContext(ctx, fmt.Sprintf("UPDATE %s SET looks=looks+1 WHERE k=%d", registerTable, register))
	}
	if err != nil {
		_ = tx.Rollback() // the connection is lost with it, if that fails
		return 0, err
	}
	return value, tx.Commit()
}
