package drbd

import (
	"fmt"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
)

// do makes a verb that the volume's process carries out.
func do(v api.VolumeVerb) func(*call) error {
	return func(c *call) error { return c.each(func(t target) error { return c.do(t, v) }) }
}

// up checks what can be checked here first: its errors name the line of the file.
func (c *call) up() error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	for _, w := range conf.Warnings {
		fmt.Fprintf(c.Stderr, "warning: %s\n", w)
	}
	return c.each(c.bringUp)
}

func (c *call) bringUp(t target) error {
	for _, v := range t.volumes {
		if err := c.exists(v.Disk, "disk", t, v.Pos); err != nil {
			return err
		}
		if err := c.exists(v.Meta.On(v.Disk), "meta-disk", t, v.Pos); err != nil {
			return err
		}
	}
	return c.do(t, api.VolumeUp)
}

func (c *call) do(t target, v api.VolumeVerb) error {
	return c.request(t, api.VolumeDo{Verb: v, Force: c.force, DiscardMyData: c.discard})
}

func (c *call) request(t target, do api.VolumeDo) error {
	if t.named() {
		do.Volume = &t.volumes[0].Number
	}
	v, request := do.Verb, api.VolumeDoRequest{Resource: t.Name, Do: do}
	var reply api.VolumeReply
	if err := c.ask("volume.do", request, &reply); err != nil {
		return err
	}
	if c.json {
		if err := c.printJSON(struct {
			Resource string `json:"resource"`
			api.VolumeReply
		}{t.Name, reply}); err != nil || reply.Code == 0 {
			return err
		}
		return &failure{code: reply.Code}
	}
	if reply.Code == 0 {
		return nil
	}
	return fail(reply.Code, "%s\nCommand 'drbdsetup-84 %s' terminated with exit code %d", reply.Error, c.setupLine(t, refusing(t, reply.Error), v), reply.Code)
}

// refusing finds the volume a refusal is about: it begins with the minor.
func refusing(t target, text string) *resfile.Volume {
	for _, v := range t.volumes {
		if strings.HasPrefix(text, fmt.Sprintf("%d: ", v.Minor)) {
			return v
		}
	}
	return firstVolume(t)
}

// setup is the command that drbdadm would have run: scripts look for it in the message.
func (c *call) setupLine(t target, vol *resfile.Volume, v api.VolumeVerb) string {
	args := []string{string(v), fmt.Sprint(vol.Minor)}
	switch v {
	case api.VolumeUp, api.VolumeAttach:
		args = []string{"attach", fmt.Sprint(vol.Minor), vol.Disk, vol.Meta.On(vol.Disk), vol.Meta.IndexText()}
	case api.VolumeDown:
		args = []string{"down", t.Name}
	case api.VolumeConnect:
		args = []string{"connect", t.Name, endpoint(t.self), endpoint(t.peer), "--protocol=" + t.Protocol()}
	case api.VolumeDisconnect:
		args = []string{"disconnect", endpoint(t.self), endpoint(t.peer)}
	}
	args = append(args, c.passedTo(v)...)
	if c.force {
		args = append(args, "--force")
	}
	return strings.Join(args, " ")
}

// passedTo are the options of a verb that are drbdsetup's.
func (c *call) passedTo(v api.VolumeVerb) []string {
	if v == api.VolumeResize {
		return c.passed
	}
	return nil
}

func firstVolume(t target) *resfile.Volume { return t.volumes[0] }

func endpoint(h *resfile.Host) string { return h.Address.Family + ":" + h.Address.Endpoint() }
