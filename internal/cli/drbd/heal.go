package drbd

import (
	"fmt"
	"path/filepath"
	"time"

	"holdfast/internal/api"
)

// heal settles a split brain: --keep=NODE gives the other side up, after its blocks have been saved; --undo=FILE takes that back;
// --show=FILE and --extract=FILE --onto=PATH need no volume.
func (c *call) heal() error {
	switch {
	case c.values["--show"] != "":
		return c.healShow(c.values["--show"])
	case c.values["--extract"] != "":
		return c.healExtract(c.values["--extract"], c.values["--onto"])
	case len(c.resources) != 1:
		return fail(exitUsage, "USAGE: holdfast drbd heal {--keep=NODE [--save=FILE] [--whole] | --undo=FILE} [--dry-run] RESOURCE\n"+
			"       holdfast drbd heal --show=FILE\n       holdfast drbd heal --extract=FILE --onto=PATH")
	}
	return c.each(func(t target) error {
		if n := len(t.self.Volumes); n > 1 {
			return fail(exitFailed, "%s has %d volumes, which are given up together: heal saves the blocks of resources of one. To give %s up without saving "+
				"anything: drbdadm disconnect %s, then drbdadm connect --discard-my-data %s", t.Name, n, t.self.Name(), t.Name, t.Name)
		}
		if file := c.values["--undo"]; file != "" {
			return c.healUndo(t, file)
		}
		switch c.values["--keep"] {
		case t.self.Name():
			return c.healKeep(t)
		case t.peer.Name():
			return c.healGiveUp(t)
		}
		return fail(exitUsage, "drbdadm: heal --keep='%s': the name of the host whose data stays is expected, %s or %s", c.values["--keep"], t.self.Name(), t.peer.Name())
	})
}

// healKeep is the surviving side's part: it waits for the other.
func (c *call) healKeep(t target) error {
	v, up, err := c.volume(t.Name)
	switch {
	case err != nil:
		return err
	case !up:
		return fail(exitFailed, "%s is not up: drbdadm up %s", t.Name, t.Name)
	case v.Adopted && (v.Reason != "" || c.apart(t.peer.Name())):
		_, err := fmt.Fprintf(c.Stdout, "%s: the data of %s is kept. On %s: holdfast drbd heal --keep=%s %s\n",
			t.Name, t.self.Name(), t.peer.Name(), t.self.Name(), t.Name)
		return err
	case v.Adopted:
		return fail(exitFailed, "%s is in a cluster's log, which says which replica is good: there is nothing to heal", t.Name)
	case connection(v.Conn) == "":
		return fail(exitFailed, "%s is connected (%s): there is no split brain", t.Name, v.Conn)
	}
	if v.Conn == "StandAlone" && !c.dryRun {
		if err := c.healRequest(t, api.VolumeDo{Verb: api.VolumeConnect}); err != nil {
			return err
		}
	}
	if c.json {
		return c.printJSON(map[string]string{"resource": t.Name, "keep": t.self.Name(), "give_up": t.peer.Name()})
	}
	waits := "waits"
	if c.dryRun {
		waits = "would wait"
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: the data of %s is kept; it %s for %s. There: holdfast drbd heal --keep=%s %s\n",
		t.Name, t.self.Name(), waits, t.peer.Name(), t.self.Name(), t.Name)
	return err
}

// healGiveUp is the losing side's part.
func (c *call) healGiveUp(t target) error {
	do := api.VolumeDo{Verb: api.VolumeHeal, Look: c.dryRun, File: c.values["--save"], Whole: c.values["--whole"] != ""}
	if do.File == "" {
		name := fmt.Sprintf("%s-%s-%s.side", t.Name, t.self.Name(), c.now().UTC().Format("20060102T150405Z"))
		do.File = filepath.Join(c.Root.Lib(), "saved", name)
	}
	var err error
	if do.File, err = filepath.Abs(do.File); err != nil {
		return fail(exitUsage, "drbdadm: heal --save='%s': %v", do.File, err)
	}
	if c.apart(t.peer.Name()) {
		if c.dryRun {
			return c.healLookAcross(t, do.File)
		}
		if err := c.rejoin(t); err != nil {
			return err
		}
	}
	if settled, err := c.healRejoined(t); settled || err != nil {
		return err
	}
	if err := c.healRequest(t, do); err != nil {
		return err
	}
	h, err := c.healFollow(t)
	if err != nil || c.json {
		return err
	}
	if h.Phase == api.HealFound {
		_, err = fmt.Fprintf(c.Stdout, "%s: split brain. Of %s, %s would be saved in %s and replaced by the data of %s. Nothing was changed.\n",
			t.Name, t.self.Name(), between(h.Least, h.Most), do.File, t.peer.Name())
		return err
	}
	if v, _, err := c.volume(t.Name); err == nil && v.Adopted {
		_, err := fmt.Fprintf(c.Stdout, "%s: healed. What %s held of its own: holdfast drbd heal --show=%s, or --extract=%s --onto=COPY\n", t.Name, t.self.Name(), h.File, h.File)
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: healed. To take that back: drbdadm disconnect %s; holdfast drbd heal --undo=%s %s\n", t.Name, t.Name, h.File, t.Name)
	return err
}

func (c *call) healUndo(t target, file string) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return fail(exitUsage, "drbdadm: heal --undo='%s': %v", file, err)
	}
	if err := c.healRequest(t, api.VolumeDo{Verb: api.VolumeHealUndo, File: path, Look: c.dryRun}); err != nil {
		return err
	}
	h, err := c.healFollow(t)
	if err != nil || c.json {
		return err
	}
	if h.Phase == api.HealFound {
		_, err = fmt.Fprintf(c.Stdout, "%s: %s would be written back; the disk would be again what it was before the heal. Nothing was changed.\n", t.Name, amount(h.Most))
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s: the disk is again what it was before the heal. The two sides are in a split brain again; to keep this one, on both hosts: "+
		"holdfast drbd heal --keep=%s %s\n", t.Name, t.self.Name(), t.Name)
	return err
}

// healRequest is request without drbdsetup's words: it has no such command.
func (c *call) healRequest(t target, do api.VolumeDo) error {
	var reply api.VolumeReply
	if err := c.ask("volume.do", api.VolumeDoRequest{Resource: t.Name, Do: do}, &reply); err != nil {
		return err
	}
	if reply.Code != 0 {
		return fail(reply.Code, "%s", reply.Error)
	}
	return nil
}

// healFollow shows how far a heal is until it has ended. Ctrl-C ends the watching only.
func (c *call) healFollow(t target) (*api.HealStatus, error) {
	begun, shown := time.Now(), api.HealPhase("")
	for {
		v, up, err := c.volume(t.Name)
		switch {
		case err != nil:
			return nil, err
		case !up || v.Heal == nil:
			return nil, fail(exitFailed, "%s: the volume process has ended meanwhile; see its log in %s, then: holdfast drbd heal again", t.Name, c.Root.Log())
		}
		h := v.Heal
		if h.Phase != shown {
			shown = h.Phase
			c.healLine(t, v)
		}
		switch {
		case h.Phase == api.HealFailed:
			return nil, c.healFailure(t, h)
		case h.Phase.Ended():
			if c.json {
				return h, c.printJSON(struct {
					Resource string `json:"resource"`
					*api.HealStatus
				}{t.Name, h})
			}
			return h, nil
		case h.Phase == api.HealWaiting && time.Since(begun) > c.healPatience():
			return nil, c.healLonely(t)
		}
		time.Sleep(pollEvery)
	}
}

func (c *call) healFailure(t target, h *api.HealStatus) error {
	if c.json {
		if err := c.printJSON(h); err != nil {
			return err
		}
		return &failure{code: exitFailed}
	}
	return fail(exitFailed, "%s: %s", t.Name, h.Error)
}

// healPatience bounds the wait for the other side.
func (c *call) healPatience() time.Duration {
	if c.timeout > 0 {
		return c.timeout
	}
	return askTimeout
}

// healLonely gives the wait for the other side up.
func (c *call) healLonely(t target) error {
	if err := c.healRequest(t, api.VolumeDo{Verb: api.VolumeDisconnect}); err != nil {
		return err
	}
	return fail(exitFailed, "%s: %s has not answered for %v, nothing was changed. There: holdfast drbd heal --keep=%s %s (a kernel module: drbdadm connect %s), then here again",
		t.Name, t.peer.Name(), c.healPatience(), t.peer.Name(), t.Name, t.Name)
}

// healLine tells of a phase that may last.
func (c *call) healLine(t target, v api.VolumeStatus) {
	if c.json {
		return
	}
	switch h := v.Heal; h.Phase {
	case api.HealWaiting:
		fmt.Fprintf(c.Stdout, "%s: waiting for %s\n", t.Name, t.peer.Name())
	case api.HealSaving:
		fmt.Fprintf(c.Stdout, "%s: saving %s of %s in %s\n", t.Name, amount(h.Total), t.self.Name(), h.File)
	case api.HealResyncing:
		fmt.Fprintf(c.Stdout, "%s: saved; now the resync from %s, see drbdadm status\n", t.Name, t.peer.Name())
	case api.HealUndoing:
		fmt.Fprintf(c.Stdout, "%s: writing %s back\n", t.Name, amount(h.Total))
	}
}

func between(least, most int64) string {
	if least == most {
		return amount(least)
	}
	return amount(least) + " to " + amount(most)
}

func amount(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
