package drbd

import (
	"fmt"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
)

// adjust brings up what is not up, and applies to what is the differences of the configuration, and nothing else.
func (c *call) adjust() error {
	return c.each(func(t target) error {
		_, up, err := c.volume(t.Name)
		switch {
		case err != nil:
			return err
		case !up:
			return c.bringUp(t)
		}
		return c.do(t, api.VolumeAdjust)
	})
}

// planAdjust shows what adjust would do: for a volume that is up the differences, otherwise all of up.
func (c *call) planAdjust() error {
	targets, err := c.targets()
	if err != nil {
		return err
	}
	down := 0
	for _, t := range targets {
		running, err := c.running(t)
		if err != nil {
			return err
		}
		if running == nil {
			down++
			continue
		}
		changes, err := resfile.Differences(running, t.Resource, c.Hostname)
		if err != nil {
			return fail(exitFailed, "%v", err)
		}
		was, wasPeer, err := running.For(c.Hostname)
		if err != nil {
			return fail(exitFailed, "%v", err)
		}
		for _, change := range changes {
			c.printCommands(c.changeCommands(t, change, was, wasPeer))
		}
	}
	if down == len(targets) { // as a plan of up: stage by stage
		return c.showPlan(c.plans("up"))
	}
	return nil
}

// running is the resource as its volume runs it; nil if it does not.
func (c *call) running(t target) (*resfile.Resource, error) {
	_, up, err := c.volume(t.Name)
	if isNoDaemon(err) || err == nil && !up {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var reply api.VolumeReply
	request := api.VolumeDoRequest{Resource: t.Name, Do: api.VolumeDo{Verb: api.VolumeShow}}
	if err := c.ask("volume.do", request, &reply); err != nil {
		return nil, err
	}
	if reply.Code != 0 {
		return nil, fail(reply.Code, "%s", reply.Error)
	}
	conf, err := resfile.Parse("what runs", []byte(reply.Config), nil)
	if err != nil {
		return nil, fail(exitFailed, "resource %s: %v", t.Name, err)
	}
	r, ok := conf.Resource(t.Name)
	if !ok {
		return nil, fail(exitFailed, "resource %s: the volume's answer does not have it", t.Name)
	}
	// A floating section has no name in the text; it is this host's if the address of the configuration's is.
	for _, h := range r.Hosts {
		if h.Floating && h.Address == t.self.Address {
			h.Names = []string{c.Hostname}
		}
	}
	return r, nil
}

// changeCommands are drbdadm's commands for one difference.
func (c *call) changeCommands(t target, change resfile.Change, was, wasPeer *resfile.Host) [][]string {
	one := t
	if v, ok := t.self.Volume(change.Volume); ok {
		one.volumes = []*resfile.Volume{v}
	}
	old := ""
	if v, ok := was.Volume(change.Volume); ok {
		old = minorText(v)
	}
	switch change.Kind {
	case resfile.ChangeOptions:
		return [][]string{append([]string{setupTool, "resource-options", t.Name, "--set-defaults"}, t.OptionArgs()...)}
	case resfile.ChangeMinor:
		return append([][]string{{setupTool, "detach", old}, {setupTool, "del-minor", old}}, append(c.planMinors(one), c.planAttach(one)...)...)
	case resfile.ChangeDisk:
		return append([][]string{{setupTool, "detach", old}}, c.planAttach(one)...)
	case resfile.ChangeDiskOptions:
		return [][]string{append([]string{setupTool, "disk-options", old, "--set-defaults"}, t.DiskArgs(one.volumes[0], c.firstMinor)...)}
	case resfile.ChangeAddress:
		return append([][]string{{setupTool, "disconnect", endpoint(was), endpoint(wasPeer)}}, c.planConnect(t)...)
	}
	return [][]string{append([]string{setupTool, "net-options", endpoint(t.self), endpoint(t.peer), "--set-defaults"}, t.NetArgs()...)}
}

// printCommands writes commands as a shell would read them.
func (c *call) printCommands(commands [][]string) {
	for _, words := range commands {
		for i, w := range words {
			if i > 0 {
				fmt.Fprint(c.Stdout, " ")
			}
			fmt.Fprint(c.Stdout, resfile.ShellWord(w))
		}
		fmt.Fprintln(c.Stdout)
	}
}

// diskOptions sets, on running volumes, what can be set there: the most a resync to this host may move.
func (c *call) diskOptions() error {
	text, known := "", false
	for _, name := range [...]string{"--rate", "--c-max-rate", "--resync-rate"} {
		if v, ok := c.values[name]; ok {
			text, known = v, true
			break
		}
	}
	if !known || len(c.values) != 1 {
		return fail(exitUsage, "disk-options: one of --rate, --c-max-rate and --resync-rate is expected; other options go into the "+
			"configuration, and drbdadm adjust applies them")
	}
	kib, err := resfile.ParseRate(text)
	if err != nil || kib < 0 {
		return fail(exitUsage, "disk-options: '%s' is not a rate, such as 10M (per second)", text)
	}
	return c.each(func(t target) error {
		return c.request(t, api.VolumeDo{Verb: api.VolumeRate, RateKiB: uint64(kib)})
	})
}
