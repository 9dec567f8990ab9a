package drbd

import (
	"fmt"
	"slices"

	"holdfast/internal/block/resfile"
)

// The programs that drbdadm runs; holdfast does their work itself, but a dry run names them, and scripts look for that.
const setupTool, metaTool = "drbdsetup-84", "drbdmeta"

// step gives the commands of a verb for one resource, in the order of a dry run.
type step func(c *call, t target) [][]string

// plans are the verbs that a dry run can show. up and adjust bring all resources through each stage before the next.
func (c *call) plans(name string) []step {
	stages := []step{planResource, (*call).planMinors, (*call).planAttach, (*call).planConnect}
	switch name {
	case "up", "adjust", "adjust-with-progress":
		return stages
	case "attach":
		return stages[2:3]
	case "connect":
		return stages[3:]
	case "new-resource":
		return []step{planResource}
	case "new-minor", "sh-new-minor":
		return []step{(*call).planMinors}
	case "down", "status":
		return []step{perResource(name)}
	case "resource-options":
		return []step{perResource(name)}
	case "disconnect", "net-options":
		return []step{perConnection(name)}
	case "resize", "check-resize":
		return []step{planResize}
	case "wait-connect":
		return []step{planWait}
	case "primary", "secondary", "detach", "invalidate-remote", "verify", "pause-sync", "resume-sync", "role",
		"cstate", "suspend-io", "resume-io", "new-current-uuid", "disk-options":
		return []step{perVolume(true, false, name)}
	case "invalidate", "outdate", "dstate", "show-gi", "get-gi":
		return []step{perVolume(true, true, name)}
	case "create-md", "dump-md", "wipe-md", "apply-al", "set-gi":
		return []step{perVolume(false, true, name)}
	}
	return nil
}

// showPlan prints what the verb would do, and does nothing.
func (c *call) showPlan(steps []step) error {
	targets, err := c.targets()
	if err != nil {
		return err
	}
	for _, s := range steps {
		for _, t := range targets {
			c.printCommands(s(c, t))
		}
	}
	return nil
}

func minorText(v *resfile.Volume) string { return fmt.Sprint(v.Minor) }

// perResource makes `drbdsetup VERB RESOURCE`.
func perResource(verb string) step {
	return func(c *call, t target) [][]string {
		return [][]string{append([]string{setupTool, verb, t.Name}, c.passed...)}
	}
}

// perConnection makes `drbdsetup VERB SELF PEER`.
func perConnection(verb string) step {
	return func(c *call, t target) [][]string {
		return [][]string{append([]string{setupTool, verb, endpoint(t.self), endpoint(t.peer)}, c.passed...)}
	}
}

// perVolume makes `drbdsetup VERB MINOR` for the running volume, `drbdmeta ... VERB` for the disk, or both.
func perVolume(running, disk bool, verb string) step {
	return func(c *call, t target) (all [][]string) {
		for _, v := range t.volumes {
			if running {
				all = append(all, append([]string{setupTool, verb, minorText(v)}, c.passed...))
			}
			if disk {
				all = append(all, append(metaWords(v, verb), c.passed...))
			}
		}
		return all
	}
}

// metaWords are the words of a drbdmeta command.
func metaWords(v *resfile.Volume, verb string) []string {
	return []string{metaTool, minorText(v), "v08", v.Meta.On(v.Disk), v.Meta.IndexText(), verb}
}

func planResize(c *call, t target) (all [][]string) {
	for _, v := range t.volumes {
		resize := []string{setupTool, "resize", minorText(v)}
		if o, ok := t.Disk(v).Get("size"); ok {
			resize = append(resize, "--size="+o.Value())
		}
		all = append(all, append(resize, c.passed...), []string{setupTool, "check-resize", minorText(v)})
	}
	return all
}

func planWait(c *call, t target) (all [][]string) {
	for _, v := range t.volumes {
		wait := append([]string{setupTool, "wait-connect", minorText(v)}, t.StartupArgs()...)
		all = append(all, append(wait, c.passed...))
	}
	return all
}

func planResource(_ *call, t target) [][]string {
	return [][]string{append([]string{setupTool, "new-resource", t.Name}, t.OptionArgs()...)}
}

func (c *call) planMinors(t target) (all [][]string) {
	for _, v := range t.volumes {
		all = append(all, []string{setupTool, "new-minor", t.Name, minorText(v), fmt.Sprint(v.Number)})
	}
	return all
}

func (c *call) planAttach(t target) (all [][]string) {
	for _, v := range t.volumes {
		attach := []string{setupTool, "attach", minorText(v), v.Disk, v.Meta.On(v.Disk), setupIndex(v.Meta)}
		attach = append(attach, t.DiskArgs(v, c.firstMinor)...)
		all = append(all, metaWords(v, "apply-al"), append(attach, c.passed...))
	}
	return all
}

// setupIndex is drbdsetup's word for where metadata is; drbdmeta has another one for flexible metadata.
func setupIndex(m resfile.MetaDisk) string {
	if m.Kind == resfile.MetaFlexible {
		return "flexible"
	}
	return m.IndexText()
}

func (c *call) planConnect(t target) [][]string {
	connect := append([]string{setupTool, "connect", t.Name, endpoint(t.self), endpoint(t.peer)}, t.NetArgs()...)
	return [][]string{append(connect, c.passed...)}
}

// firstMinor is what resync-after of another resource means to drbdsetup.
func (c *call) firstMinor(resource string) (int, bool) {
	r, ok := c.conf.Resource(resource)
	if !ok {
		return 0, false
	}
	self, _, err := r.For(c.Hostname)
	if err != nil || len(self.Volumes) == 0 {
		return 0, false
	}
	return self.Volumes[0].Minor, true
}

// oneVolume are the verbs that want RESOURCE/VOLUME or minor-NUMBER.
func oneVolume(name string) bool {
	return slices.Contains([]string{"set-gi", "new-current-uuid", "sh-udev"}, name)
}

// needOneVolume refuses a resource of several volumes for a verb that works on one.
func (c *call) needOneVolume(t target) error {
	if !oneVolume(c.verb.name) || len(t.volumes) == 1 {
		return nil
	}
	return fail(exitUsage, "%s requires a specific volume id, but none is specified.\nTry '%s minor-<minor_number>' or '%s %s/<vnr>'",
		c.verb.name, c.verb.name, c.verb.name, t.Name)
}
