package nemesis

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/internal/lab"
	"holdfast/internal/lab/tutorial"
)

// The clients that use blocks of the volume as registers: blocks of one preallocated file on its file system, written and
// read past the page cache, from inside whichever database host has it mounted.
const (
	blockFile  = "/var/lib/mysql/holdfast-blocks"
	blocks     = 16
	blockBytes = 4096
	blockPause = 150 * time.Millisecond
	// blockLimit bounds one operation; a dd that waits for the kernel ends when that answers.
	blockLimit = 60 * time.Second
	// notMounted is the exit code of an operation that was not begun.
	notMounted = 3
)

// blockClients reads and writes blocks on both database hosts.
//
// A device may lose what was not acknowledged, and shows it to readers before: an operation therefore has its block to
// itself, and a block with a write of unknown outcome rests until the cluster is whole again (settled).
type blockClients struct {
	history *History
	cancel  context.CancelFunc
	all     sync.WaitGroup

	mu   sync.Mutex
	busy [blocks]bool
	rest [blocks]bool
}

// newBlocks makes the file on the active host and starts a client on each database host.
func newBlocks(ctx context.Context, l *lab.Lab, active *lab.Host) (*blockClients, error) {
	b := &blockClients{history: NewHistory("blocks of the volume")}
	line := fmt.Sprintf("dd if=/dev/zero of=%s bs=%d count=%d conv=fsync status=none", blockFile, blockBytes, blocks)
	if r, err := active.Exec(ctx, "sh", "-c", line); err != nil || r.Code != 0 {
		return nil, fmt.Errorf("make the blocks' file on %s: exit code %d, %v: %s", active.Name(), r.Code, err, r.Stderr)
	}
	running, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	for i, name := range []string{tutorial.DB1, tutorial.DB2} {
		b.all.Go(func() { b.run(running, i, l.Host(name)) })
	}
	return b, nil
}

func (b *blockClients) stop() {
	b.cancel()
	b.all.Wait()
}

// settled says that no write is under way any more: what a block holds now, it keeps.
func (b *blockClients) settled() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest = [blocks]bool{}
}

func (b *blockClients) run(ctx context.Context, client int, h *lab.Host) {
	for ctx.Err() == nil {
		if n := rand.IntN(blocks); b.take(n) {
			b.give(n, b.once(client, h, n))
		}
		select {
		case <-ctx.Done():
		case <-time.After(blockPause):
		}
	}
}

func (b *blockClients) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[n] || b.rest[n] {
		return false
	}
	b.busy[n] = true
	return true
}

func (b *blockClients) give(n int, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy[n], b.rest[n] = false, !known
}

// once makes one operation; known tells whether what it did is.
func (b *blockClients) once(client int, h *lab.Host, n int) (known bool) {
	op := Op{Client: client, Register: n, Write: rand.IntN(2) == 0, Call: b.history.Now()}
	if !op.Write {
		value, err := readBlock(h, n)
		if op.Value, op.Return = value, b.history.Now(); err == nil {
			b.history.Add(op)
		}
		return true
	}
	op.Value = b.history.Fresh()
	begun, err := writeBlock(h, n, op.Value)
	if op.Return = b.history.Now(); !begun {
		return true
	}
	if err != nil {
		op.Return = math.MaxInt64
	}
	b.history.Add(op)
	return err == nil
}

func writeBlock(h *lab.Host, n int, value int64) (begun bool, err error) {
	content := make([]byte, blockBytes)
	copy(content, strconv.FormatInt(value, 10)+"\n")
	code, _, err := blockCommand(h, content, fmt.Sprintf(
		"dd of=%s bs=%d count=1 seek=%d iflag=fullblock conv=notrunc,nocreat oflag=direct,dsync status=none", blockFile, blockBytes, n))
	switch {
	case code == notMounted:
		return false, nil
	case err == nil && code != 0:
		err = fmt.Errorf("exit code %d", code)
	}
	return true, err
}

func readBlock(h *lab.Host, n int) (int64, error) {
	code, out, err := blockCommand(h, nil, fmt.Sprintf("dd if=%s bs=%d count=1 skip=%d iflag=direct status=none", blockFile, blockBytes, n))
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return 0, err
	}
	text := strings.TrimRight(string(out), "\x00\n")
	if text == "" {
		return 0, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

// blockCommand runs a line on a host if the file is there; a host that is down or frozen is as good as one without it.
func blockCommand(h *lab.Host, stdin []byte, line string) (int, []byte, error) {
	if !h.Running() || h.Frozen() {
		return notMounted, nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), blockLimit)
	defer cancel()
	cmd := h.Command(ctx, "sh", "-c", fmt.Sprintf("test -e %s || exit %d; exec %s", blockFile, notMounted, line))
	cmd.Stdin = bytes.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		return notMounted, nil, nil
	}
	err := cmd.Wait()
	if cmd.ProcessState == nil {
		return -1, nil, err
	}
	return lab.ExitCode(cmd.ProcessState), out.Bytes(), ctx.Err()
}
