package nemesis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/lab"
	"holdfast/internal/lab/demo"
	"holdfast/internal/lab/tutorial"
	"holdfast/internal/lab/watch"
)

// audit judges the system once it is whole again.
func (r *run) audit(ctx context.Context) error {
	missing, err := r.rows.Missing(ctx)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%d acknowledged rows are lost, the first is %d", len(missing), missing[0])
	}
	return errors.Join(err, r.watch.Verdict(ctx), r.tidyEverywhere(ctx), r.checkTables(ctx), r.equalReplicas(ctx))
}

// checkTables has the database check its tables.
func (r *run) checkTables(ctx context.Context) error {
	db, err := openDatabase(r.lab.Host(tutorial.Client))
	if err != nil {
		return err
	}
	defer db.Close()
	found, err := db.QueryContext(ctx, "CHECK TABLE "+strings.Join([]string{rowTable, registerTable, watch.Table}, ", "))
	if err != nil {
		return fmt.Errorf("check the tables: %w", err)
	}
	defer found.Close()
	var bad []error
	for found.Next() {
		var table, op, kind, text string
		if err := found.Scan(&table, &op, &kind, &text); err != nil {
			return err
		}
		if kind != "status" || text != "OK" {
			bad = append(bad, fmt.Errorf("check of table %s: %s: %s", table, kind, text))
		}
	}
	return errors.Join(append(bad, found.Err())...)
}

// census is what a host is counted by: a line of numbers, in the order of counted.
const census = `c() { pgrep -c "$@" || true; }
echo $(c -f '^holdfast daemon') $(c -f '[h]oldfast guard') $(c -f '[v]olume mysqlr0') $(c -x mariadbd) $(c -x mysqld_safe) \
 $(grep -c ' /var/lib/mysql ' /proc/self/mounts) $(c -f '[h]oldfast balancer') $(ip -o -4 address show | grep -vc ' lo  *inet 127')`

var counted = [...]string{"daemon", "guard", "volume process", "mariadbd", "mysqld_safe", "mount of /var/lib/mysql", "balancer", "address"}

// expected is the census of a host with a part, when everything runs.
func expected(h *lab.Host, active bool) []int {
	switch h.Name() {
	case tutorial.DB1, tutorial.DB2:
		if active {
			return []int{1, 1, 1, 1, 1, 1, 0, 1}
		}
		return []int{1, 1, 1, 0, 0, 0, 0, 1}
	case tutorial.Web1, tutorial.Web2, tutorial.Client:
		return []int{1, 1, 0, 0, 0, 0, 1, 2}
	default:
		return []int{1, 1, 0, 0, 0, 0, 1, 1}
	}
}

// tidyEverywhere waits until every host runs what it is to run, and nothing else: what an ended service left may take a
// moment to go.
func (r *run) tidyEverywhere(ctx context.Context) error {
	for end := time.Now().Add(serveLimit); ; {
		why := r.untidy(ctx)
		if why == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("something is left over, or missing: %w", why)
		}
		_ = until(ctx, time.Now().Add(10*lookEvery)) // ctx is looked at above
	}
}

func (r *run) untidy(ctx context.Context) error {
	primary := demo.Primary(ctx, r.lab)
	var bad []error
	for _, h := range r.lab.Hosts() {
		out, err := typed(ctx, h, census)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		words := strings.Fields(out)
		for i, want := range expected(h, h.Name() == primary) {
			if i >= len(words) || words[i] != fmt.Sprint(want) {
				bad = append(bad, fmt.Errorf("%s: %s: %q, want %d of %s", h.Name(), strings.TrimSpace(out), words[min(i, len(words)-1)], want, counted[i]))
			}
		}
	}
	return errors.Join(bad...)
}
