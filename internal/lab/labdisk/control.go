package labdisk

import (
	"errors"
	"fmt"
	"net"
	"time"

	"holdfast/internal/api"
)

// Command is one order to a disk, as the control socket carries it.
type Command struct {
	// Do is one of: power-on, power-off, unplug, fail, slow, full, hang, heal, stats. Faults add up until heal.
	Do string `json:"do"`
	// Keep, for power-off: the share of unflushed sectors that reach the medium, 0 to 1.
	Keep float64 `json:"keep,omitempty"`
	// What, for fail: read, write, flush; empty for all three.
	What []string `json:"what,omitempty"`
	// DelayMS, for slow: milliseconds added to each request.
	DelayMS int `json:"delay_ms,omitempty"`
}

// Result answers a Command.
type Result struct {
	Error string `json:"error,omitempty"`
	// Device is the block device's path while the disk is on.
	Device string `json:"device,omitempty"`
	Stats  Stats  `json:"stats"`
}

// Do carries a command out.
func (d *Disk) Do(c Command) Result {
	var r Result
	if err := d.do(c); err != nil {
		r.Error = err.Error()
	}
	if dev, err := d.Device(); err == nil {
		r.Device = dev.Path
	}
	r.Stats = d.Stats()
	return r
}

func (d *Disk) do(c Command) error {
	switch c.Do {
	case "power-on":
		return d.PowerOn()
	case "power-off":
		if c.Keep < 0 || c.Keep > 1 {
			return fmt.Errorf("keep is %v; it is a share from 0 to 1", c.Keep)
		}
		return d.PowerOff(c.Keep)
	case "unplug":
		return d.Unplug()
	case "stats":
		return nil
	case "heal":
		d.Heal()
		return nil
	}
	return d.worsen(c)
}

// worsen adds a fault to those there are.
func (d *Disk) worsen(c Command) error {
	d.mu.RLock()
	f := d.fault
	d.mu.RUnlock()
	switch c.Do {
	case "fail":
		if err := f.fail(c.What); err != nil {
			return err
		}
	case "slow":
		f.Delay = time.Duration(c.DelayMS) * time.Millisecond
	case "full":
		f.Full = true
	case "hang":
		f.Hang = true
	default:
		return fmt.Errorf("unknown command %q; there are power-on, power-off, unplug, fail, slow, full, hang, heal and stats", c.Do)
	}
	d.Set(f)
	return nil
}

func (f *Fault) fail(what []string) error {
	if len(what) == 0 {
		what = []string{"read", "write", "flush"}
	}
	for _, w := range what {
		switch w {
		case "read":
			f.FailReads = true
		case "write":
			f.FailWrites = true
		case "flush":
			f.FailFlushes = true
		default:
			return fmt.Errorf("cannot fail %q; there are read, write and flush", w)
		}
	}
	return nil
}

// Serve answers commands on a listener until it is closed. Frames are those of api: one Command in, one Result out.
func (d *Disk) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("lab disk %s: control socket: %w", d.cfg.Name, err)
		}
		go d.serve(c)
	}
}

func (d *Disk) serve(c net.Conn) {
	defer c.Close()
	for {
		var cmd Command
		if api.ReadFrame(c, &cmd) != nil {
			return // the client is gone, or speaks something else
		}
		if api.WriteFrame(c, d.Do(cmd)) != nil {
			return
		}
	}
}

// askTimeout bounds one Ask.
const askTimeout = 30 * time.Second

// Ask sends a command to the control socket at path and returns the answer; an error in it is returned as one.
func Ask(path string, cmd Command) (Result, error) {
	var r Result
	c, err := net.DialTimeout("unix", path, askTimeout)
	if err != nil {
		return r, fmt.Errorf("reach the lab disk: %w", err)
	}
	defer c.Close()
	err = c.SetDeadline(time.Now().Add(askTimeout))
	if err == nil {
		err = api.WriteFrame(c, cmd)
	}
	if err == nil {
		err = api.ReadFrame(c, &r)
	}
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		return r, fmt.Errorf("lab disk %s: %s: %w", path, cmd.Do, err)
	}
	return r, nil
}
