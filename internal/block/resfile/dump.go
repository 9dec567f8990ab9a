package resfile

import (
	"fmt"
	"strings"
)

// Dump writes the whole configuration as `drbdadm dump` does; node is this host's name.
func (c *Config) Dump(node string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n", c.Name)
	if len(c.Global) > 0 {
		dumpOptions(&b, "global", c.Global, "")
	}
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

// Dump writes one resource as `drbdadm dump RESOURCE` does.
func (r *Resource) Dump(node string) string {
	var b strings.Builder
	ignored := "not ignored"
	if r.host(node) == nil {
		ignored = "ignored"
	}
	fmt.Fprintf(&b, "# resource %s on %s: %s, not stacked\n", r.Name, node, ignored)
	fmt.Fprintf(&b, "# defined at %v\nresource %s {\n", r.Pos, quote(r.Name))
	for _, h := range r.Hosts {
		h.dump(&b)
	}
	r.Own.dump(&b)
	b.WriteString("}\n\n")
	return b.String()
}

func (h *Host) dump(b *strings.Builder) {
	fmt.Fprintf(b, "    %s {\n", h.Label())
	for _, v := range h.Volumes {
		if h.Implicit {
			v.dump(b, 8, 16)
			continue
		}
		fmt.Fprintf(b, "        volume %d {\n", v.Number)
		v.dump(b, 12, 12)
		b.WriteString("        }\n")
	}
	if !h.Floating {
		line(b, 8, 16, "address", h.Address.String())
	}
	b.WriteString("    }\n")
}

func line(b *strings.Builder, indent, width int, word, value string) {
	fmt.Fprintf(b, "%*s%-*s %s;\n", indent, "", width, word, value)
}

func (v *Volume) dump(b *strings.Builder, indent, width int) {
	device := strings.TrimSpace(fmt.Sprintf("%s minor %d", v.Device, v.Minor))
	line(b, indent, width, "device", device)
	line(b, indent, width, "disk", quote(v.Disk))
	switch v.Meta.Kind {
	case MetaInternal:
		line(b, indent, width, "meta-disk", "internal")
	case MetaIndexed: // drbdadm pads external ones as in a host, wherever they are
		line(b, indent, 16, "meta-disk", fmt.Sprintf("%s [%d]", quote(v.Meta.Device), v.Meta.Index))
	default:
		line(b, indent, 16, "meta-disk", quote(v.Meta.Device))
	}
}

func (s *Sections) dump(b *strings.Builder) {
	dumpOptions(b, "options", s.Options, "    ")
	dumpOptions(b, "net", s.Net, "    ")
	dumpOptions(b, "disk", s.Disk, "    ")
	dumpOptions(b, "startup", s.Startup, "    ")
	dumpOptions(b, "handlers", s.Handlers, "    ")
}

func dumpOptions(b *strings.Builder, name string, all Options, indent string) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(b, "%s%s {\n", indent, name)
	for _, o := range all {
		b.WriteString(indent + "    " + o.dump(name == "global") + ";\n")
	}
	fmt.Fprintf(b, "%s}\n", indent)
	if indent == "" {
		b.WriteString("\n")
	}
}

// dump writes NAME VALUE, the value at least three wide and flush right, as drbdadm does outside the global section.
func (o Option) dump(global bool) string {
	quoted := make([]string, len(o.Values))
	for i, v := range o.Values {
		quoted[i] = quote(v)
	}
	value := strings.Join(quoted, " ")
	switch {
	case global && value == "":
		return o.Name
	case global:
		return o.Name + " " + value
	}
	return fmt.Sprintf("%-16s %3s", o.Name, value)
}

// quote puts a text that is more than a word into quotation marks.
func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\r\n\v\f\"#{};[]\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
