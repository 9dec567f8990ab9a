package resfile

import (
	"fmt"
	"slices"
	"strings"
)

// under puts what is inherited below os, in the order in which drbdadm does: options that os does not have itself come to
// the front, one after the other. The order shows in the dump of a resource and in the commands of a dry run.
func (os Options) under(inherited Options) Options {
	all := slices.Clone(os)
	for _, o := range inherited {
		if _, own := os.Get(o.Name); !own {
			all = slices.Insert(all, 0, o)
		}
	}
	return all
}

// expanded are the sections with those of common inherited.
func (r *Resource) expanded() Sections {
	return Sections{
		Options: r.Own.Options.under(r.common.Options), Net: r.Own.Net.under(r.common.Net), Disk: r.Own.Disk.under(r.common.Disk),
		Startup: r.Own.Startup.under(r.common.Startup), Handlers: r.Own.Handlers.under(r.common.Handlers),
	}
}

// DumpExpanded writes one resource as `drbdadm -d dump RESOURCE` does: with all that it inherits.
func (r *Resource) DumpExpanded(node string) string { return r.dump(node, r.expanded(), true) }

// inherited are a volume's disk options with those of its resource, expanded.
func (v *Volume) inherited(resource Options) Options {
	return v.Options.under(resource).under(v.Shared)
}

// NetArgs are the options of `drbdsetup connect` for this resource.
func (r *Resource) NetArgs() []string { return arguments(r.expanded().Net) }

// StartupArgs are the options of `drbdsetup wait-connect`.
func (r *Resource) StartupArgs() []string {
	return arguments(slices.DeleteFunc(r.expanded().Startup, keptApart))
}

// OptionArgs are the options of `drbdsetup new-resource`.
func (r *Resource) OptionArgs() []string { return arguments(r.expanded().Options) }

// DiskArgs are the options of `drbdsetup attach` for a volume. after finds the minor that resync-after names by resource.
func (r *Resource) DiskArgs(v *Volume, after func(resource string) (minor int, ok bool)) []string {
	all := v.inherited(r.expanded().Disk)
	for i, o := range all {
		if minor, ok := after(o.Value()); o.Name == "resync-after" && ok {
			all[i].Values = []string{fmt.Sprint(minor)}
		}
	}
	return arguments(all)
}

func arguments(all Options) []string {
	var args []string
	for _, o := range all {
		args = append(args, "--"+o.Name+"="+o.Value())
	}
	return args
}

// ShellWord writes a word of a command so that a shell reads it as that word, in drbdadm's way: a backslash before every
// character that is not surely harmless.
func ShellWord(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		harmless := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("%+@=:_.-/", c) >= 0 || c >= 0x80
		if !harmless {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
