package drbd

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/block/resfile"
)

// dump prints the whole configuration, or the resources named.
func (c *call) dump() error {
	conf, err := c.load()
	if err != nil {
		return err
	}
	for _, w := range conf.Warnings {
		fmt.Fprintf(c.Stderr, "warning: %s\n", w)
	}
	if len(c.resources) == 0 || slices.Contains(c.resources, "all") {
		fmt.Fprint(c.Stdout, conf.Dump(c.Hostname))
		return nil
	}
	return c.each(func(t target) error {
		text := t.Dump(c.Hostname)
		if c.dryRun { // drbdadm has expanded the options by then
			text = t.DumpExpanded(c.Hostname)
		}
		_, err := fmt.Fprint(c.Stdout, text)
		return err
	})
}

func (c *call) shResources() error {
	conf, err := c.ignoreNames()
	if err != nil {
		return err
	}
	var names []string
	for _, r := range conf.On(c.Hostname) {
		names = append(names, r.Name)
	}
	_, err = fmt.Fprintln(c.Stdout, strings.Join(names, " "))
	return err
}

// shVolume makes a verb that prints a word for each volume; nil stands for the host's replication address.
func shVolume(word func(*resfile.Volume) string) func(*call) error {
	return func(c *call) error {
		return c.each(func(t target) error {
			for _, v := range t.volumes {
				text := t.self.Address.Host
				if word != nil {
					text = word(v)
				}
				if _, err := fmt.Fprintln(c.Stdout, text); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func shDevice(v *resfile.Volume) string     { return v.Path() }
func shMinor(v *resfile.Volume) string      { return fmt.Sprint(v.Minor) }
func shDisk(v *resfile.Volume) string       { return v.Disk }
func shMetaDevice(v *resfile.Volume) string { return v.Meta.On(v.Disk) }
func shMetaIndex(v *resfile.Volume) string  { return setupIndex(v.Meta) }

func (c *call) shResource() error {
	return c.each(func(t target) error {
		_, err := fmt.Fprintln(c.Stdout, t.Name)
		return err
	})
}

// ignoreNames says what drbdadm says of names it does not need, and reads the configuration.
func (c *call) ignoreNames() (*resfile.Config, error) {
	if len(c.resources) > 0 {
		fmt.Fprintln(c.Stderr, "This command will ignore resource names!")
	}
	return c.load()
}

func (c *call) shNothing() error {
	_, err := c.ignoreNames()
	return err
}

// shModParms prints how many minors the kernel module would be told to expect.
func (c *call) shModParms() error {
	const least, spare = 32, 11
	conf, err := c.ignoreNames()
	if err != nil {
		return err
	}
	n := conf.Global.Number("minor-count", max(int64(len(conf.On(c.Hostname)))+spare, least))
	_, err = fmt.Fprintf(c.Stdout, "minor_count=%d\n", n)
	return err
}

// shUdev prints the names udev makes links from.
func (c *call) shUdev() error {
	return c.each(func(t target) error {
		v := firstVolume(t)
		name := t.Name
		if always := c.conf.Global.Bool("udev-always-use-vnr", false); always || !t.self.Implicit {
			name = fmt.Sprintf("%s/%d", name, v.Number)
		}
		disk := strings.TrimPrefix(v.Disk, "/dev/")
		_, err := fmt.Fprintf(c.Stdout, "RESOURCE=%s\nDEVICE=%s\nDISK=%s\n", name, strings.TrimPrefix(v.Path(), "/dev/"), disk)
		return err
	})
}

func (c *call) shLower() error {
	return c.each(func(target) error { return fail(exitUsage, "sh-lower-resource only available in stacked mode") })
}

// shBecomePrimary promotes if the startup section says that this host, or both, are to be Primary at boot.
func (c *call) shBecomePrimary() error {
	return c.each(func(t target) error {
		o, _ := t.Startup().Get("become-primary-on")
		if !slices.Contains(o.Values, c.Hostname) && !slices.Contains(o.Values, "both") {
			return nil
		}
		return c.do(t, api.VolumePrimary)
	})
}

// hiddenCommands lists the verbs that the help leaves out.
func (c *call) hiddenCommands() error {
	fmt.Fprint(c.Stdout, "\nThese additional commands might be useful for writing\nnifty shell scripts around drbdadm:\n\n")
	c.columns(func(v verb) bool { return strings.HasPrefix(v.name, "sh-") || v.name == "new-resource" })
	fmt.Fprint(c.Stdout, "\nThese commands ought to be used by experts and developers:\n\n")
	c.columns(func(v verb) bool { return v.hidden && !strings.HasPrefix(v.name, "sh-") && v.name != "new-resource" })
	fmt.Fprintln(c.Stdout)
	return nil
}

// columns prints names of verbs, two in a line.
func (c *call) columns(which func(verb) bool) {
	n := 0
	for _, v := range verbs() {
		if !which(v) {
			continue
		}
		fmt.Fprintf(c.Stdout, " %-34s", v.name)
		if n++; n%2 == 0 {
			fmt.Fprintln(c.Stdout)
		}
	}
	if n%2 == 1 {
		fmt.Fprintln(c.Stdout)
	}
}
