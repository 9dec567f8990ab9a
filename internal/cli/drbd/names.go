package drbd

import (
	"fmt"
	"strings"

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
	if len(c.resources) == 0 {
		fmt.Fprint(c.Stdout, conf.Dump(c.Hostname))
		return nil
	}
	return c.each(func(t target) error {
		_, err := fmt.Fprint(c.Stdout, t.Dump(c.Hostname))
		return err
	})
}

func (c *call) shResources() error {
	if len(c.resources) > 0 {
		fmt.Fprintln(c.Stderr, "This command will ignore resource names!")
	}
	conf, err := c.load()
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

func (c *call) shIP() error {
	return c.each(func(t target) error {
		_, err := fmt.Fprintln(c.Stdout, t.self.Address.Host)
		return err
	})
}

// shVolume makes a verb that prints a word for each volume.
func shVolume(word func(*resfile.Volume) string) func(*call) error {
	return func(c *call) error {
		return c.each(func(t target) error {
			for _, v := range t.volumes {
				if _, err := fmt.Fprintln(c.Stdout, word(v)); err != nil {
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
func shMetaIndex(v *resfile.Volume) string  { return v.Meta.IndexText() }
