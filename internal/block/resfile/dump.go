package resfile

import (
	"fmt"
	"slices"
	"strings"
)

// Dump writes the whole configuration as `drbdadm dump` does; node is this host's name.
func (c *Config) Dump(node string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", c.Name)
	dumpGlobal(&b, c.Global)
	if c.HasCommon {
		b.WriteString("common {\n")
		c.Common.dump(&b)
		b.WriteString("}\n\n")
	}
	for _, r := range c.Resources {
		b.WriteString(r.Dump(node))
	}
	return b.String()
}

// The timeouts of drbdadm itself, which it prints with any global section that is not empty without them.
const dumpedTimeouts = "    cmd-timeout-medium 600;\n    cmd-timeout-long 0;\n"

// dumpGlobal writes the settings drbdadm prints, in its order; those that have their default are left out, and the timeouts
// of commands are always the built-in ones.
func dumpGlobal(b *strings.Builder, all Options) {
	var lines strings.Builder
	for _, w := range [...]struct{ name, def string }{
		{"disable-ip-verification", "no"}, {"minor-count", "0"}, {"dialog-refresh", "1"}, {"usage-count", "ask"},
	} {
		o, ok := all.Get(w.name)
		switch {
		case !ok || o.Value() == w.def:
		case o.Value() == "":
			fmt.Fprintf(&lines, "    %s;\n", w.name)
		default:
			fmt.Fprintf(&lines, "    %s %s;\n", w.name, o.Value())
		}
	}
	if lines.Len() > 0 {
		fmt.Fprintf(b, "global {\n%s%s}\n\n", lines.String(), dumpedTimeouts)
	}
}

// Dump writes one resource as `drbdadm dump` does in a dump of everything: as it was written.
func (r *Resource) Dump(node string) string { return r.dump(node, r.Own, false) }

func (r *Resource) dump(node string, own Sections, expanded bool) string {
	var b strings.Builder
	ignored, stacked := "ignored", "not stacked"
	if h := r.host(node); h != nil {
		ignored = "not ignored"
		if h.StackedOn != "" {
			stacked = "stacked"
		}
	}
	fmt.Fprintf(&b, "# resource %s on %s: %s, %s\n", r.Name, node, ignored, stacked)
	fmt.Fprintf(&b, "# defined at %v\nresource %s {\n", r.Pos, quote(r.Name))
	for _, h := range r.Hosts {
		h.dump(&b, own.Disk, expanded)
	}
	own.dump(&b)
	b.WriteString("}\n\n")
	return b.String()
}

// dump writes a host section; expanded also what the volumes inherit of the disk options.
func (h *Host) dump(b *strings.Builder, disk Options, expanded bool) {
	fmt.Fprintf(b, "    %s {\n", h.Label())
	if h.StackedOn != "" {
		fmt.Fprintf(b, "        # on %s \n", strings.Join(h.Names, " "))
	}
	for _, v := range h.Volumes {
		indent, width := 8, 16
		if !h.Implicit {
			fmt.Fprintf(b, "        volume %d {\n", v.Number)
			indent, width = 12, 12
		}
		device := v.Device
		if expanded {
			v.dumpDisk(b, indent, v.inherited(disk))
			device = v.Path()
		}
		v.dump(b, indent, width, device)
		if !h.Implicit {
			b.WriteString("        }\n")
		}
	}
	if !h.Floating {
		line(b, 8, 16, "address", h.Address.String())
	}
	b.WriteString("    }\n")
}

func (v *Volume) dumpDisk(b *strings.Builder, indent int, all Options) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "%*sdisk {\n", indent, "")
	for _, o := range all {
		fmt.Fprintf(b, "%*s%s;\n", indent+4, "", o.dump(sectionColumn-indent+4))
	}
	fmt.Fprintf(b, "%*s}\n", indent, "")
}

func line(b *strings.Builder, indent, width int, word, value string) {
	fmt.Fprintf(b, "%*s%-*s %s;\n", indent, "", width, word, value)
}

func (v *Volume) dump(b *strings.Builder, indent, width int, device string) {
	line(b, indent, width, "device", strings.TrimSpace(fmt.Sprintf("%s minor %d", device, v.Minor)))
	if v.Disk != "" { // a stacked one's is the lower resource
		line(b, indent, width, "disk", quote(v.Disk))
	}
	switch v.Meta.Kind {
	case MetaInternal:
		line(b, indent, width, "meta-disk", "internal")
	case MetaIndexed: // drbdadm pads external ones as in a host, wherever they are
		line(b, indent, 16, "meta-disk", fmt.Sprintf("%s [%d]", quote(v.Meta.Device), v.Meta.Index))
	case MetaFlexible:
		line(b, indent, 16, "meta-disk", quote(v.Meta.Device))
	}
}

func (s *Sections) dump(b *strings.Builder) {
	dumpOptions(b, "options", s.Options, "    ")
	dumpOptions(b, "net", s.Net, "    ")
	dumpOptions(b, "disk", s.Disk, "    ")
	dumpOptions(b, "startup", lastOnes(s.Startup), "    ")
	dumpOptions(b, "handlers", s.Handlers, "    ")
}

// keptApart are the startup options that are drbdadm's own: drbdsetup has none of that name.
func keptApart(o Option) bool { return o.Name == "stacked-timeouts" || o.Name == "become-primary-on" }

// lastOnes puts the two options to the end that drbdadm keeps apart.
func lastOnes(all Options) Options {
	sorted := slices.DeleteFunc(slices.Clone(all), keptApart)
	for _, name := range [...]string{"stacked-timeouts", "become-primary-on"} {
		if o, ok := all.Get(name); ok {
			sorted = append(sorted, o)
		}
	}
	return sorted
}

// sectionColumn is the width of drbdadm's column of names in a resource's option section; it is less by what the section is
// indented more.
const sectionColumn = 16

func dumpOptions(b *strings.Builder, name string, all Options, indent string) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "%s%s {\n", indent, name)
	for _, o := range all {
		b.WriteString(indent + "    " + o.dump(sectionColumn) + ";\n")
	}
	fmt.Fprintf(b, "%s}\n", indent)
}

// dump writes NAME VALUE, the value at least three wide and flush right, as drbdadm does outside the global section.
func (o Option) dump(width int) string {
	quoted := make([]string, len(o.Values))
	for i, v := range o.Values {
		quoted[i] = quote(v)
	}
	value := strings.Join(quoted, " ")
	if o.Name == "stacked-timeouts" && value == "yes" { // the one word drbdadm prints alone
		return o.Name
	}
	return fmt.Sprintf("%-*s %3s", width, o.Name, value)
}

// quote puts a text that is more than a word into quotation marks.
func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\r\n\v\f\"#{};[]\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
