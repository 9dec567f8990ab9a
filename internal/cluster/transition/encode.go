package transition

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// XML prints the graph in the form Pacemaker saves transitions in (crm_simulate --save-graph): one synapse per action,
// with the action and what triggers it.
func (g *Graph) XML() []byte {
	var b strings.Builder
	startOffset := ""
	if g.StartFailureFatal {
		startOffset = ` failed-start-offset="INFINITY"`
	} else {
		startOffset = ` failed-start-offset="1"`
	}
	fmt.Fprintf(&b, `<transition_graph cluster-delay="%s" stonith-timeout="%s" failed-stop-offset="INFINITY"%s batch-limit="%d" transition_id="%d">`+"\n",
		seconds(g.ClusterDelay), seconds(g.StonithTimeout), startOffset, g.BatchLimit, g.ID)
	byID := make(map[int]*Action, len(g.Actions)+len(g.Unrunnable))
	for _, list := range [][]*Action{g.Actions, g.Unrunnable} {
		for _, a := range list {
			byID[a.ID] = a
		}
	}
	for i, a := range g.Actions {
		writeSynapse(&b, i, a, byID)
	}
	b.WriteString("</transition_graph>\n")
	return []byte(b.String())
}

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

func writeSynapse(b *strings.Builder, id int, a *Action, byID map[int]*Action) {
	fmt.Fprintf(b, `  <synapse id="%d"`, id)
	if a.Priority > 0 {
		fmt.Fprintf(b, ` priority="%d"`, a.Priority)
	}
	b.WriteString(">\n    <action_set>\n      <")
	writeHead(b, a)
	b.WriteString(">\n")
	writeBody(b, a)
	fmt.Fprintf(b, "      </%s>\n    </action_set>\n", a.Element())
	if len(a.Inputs) == 0 {
		b.WriteString("    <inputs/>\n  </synapse>\n")
		return
	}
	b.WriteString("    <inputs>\n")
	for _, in := range a.Inputs {
		if t := byID[in]; t != nil {
			b.WriteString("      <trigger>\n        <")
			writeHead(b, t)
			b.WriteString("/>\n      </trigger>\n")
		}
	}
	b.WriteString("    </inputs>\n  </synapse>\n")
}

// writeHead writes the element's name and the attributes that identify the action.
func writeHead(b *strings.Builder, a *Action) {
	b.WriteString(a.Element())
	if a.Task == TaskForget {
		attr(b, "mode", "cib")
	}
	attr(b, "id", strconv.Itoa(a.ID))
	attr(b, "operation", a.Task)
	attr(b, "operation_key", a.Key)
	if a.InternalKey != "" {
		attr(b, "internal_operation_key", a.InternalKey)
	}
	if a.Node != "" {
		attr(b, "on_node", a.Node)
		attr(b, "on_node_uuid", a.NodeID)
	}
	if a.Router != "" {
		attr(b, "router_node", a.Router)
	}
}

func writeBody(b *strings.Builder, a *Action) {
	if a.Resource != "" && a.Kind != Pseudo {
		b.WriteString("        <primitive")
		attr(b, "id", a.Resource)
		if a.Instance != "" && a.Instance != a.Resource {
			attr(b, "long-id", a.Instance)
		}
		attr(b, "class", a.Class)
		if a.Provider != "" {
			attr(b, "provider", a.Provider)
		}
		attr(b, "type", a.Type)
		b.WriteString("/>\n")
	}
	writeAttributes(b, a.Attrs)
	if len(a.Downed) > 0 {
		b.WriteString("        <downed>\n")
		for _, n := range a.Downed {
			b.WriteString("          <node")
			attr(b, "id", n)
			b.WriteString("/>\n")
		}
		b.WriteString("        </downed>\n")
	}
}

// writeAttributes writes parameters as attributes; one whose name cannot be an attribute's (an LSB script's "1") becomes a
// <param> element, as Pacemaker has it.
func writeAttributes(b *strings.Builder, attrs map[string]string) {
	var params []string
	b.WriteString("        <attributes")
	for _, k := range slices.Sorted(maps.Keys(attrs)) {
		if attributeName.MatchString(k) {
			attr(b, k, attrs[k])
		} else {
			params = append(params, k)
		}
	}
	if len(params) == 0 {
		b.WriteString("/>\n")
		return
	}
	b.WriteString(">\n")
	for _, k := range params {
		b.WriteString("          <param")
		attr(b, "name", k)
		attr(b, "value", attrs[k])
		b.WriteString("/>\n")
	}
	b.WriteString("        </attributes>\n")
}

// attributeName matches what XML allows as an attribute's name, of what parameters are called.
var attributeName = regexp.MustCompile(`^[\pL_][\pL\pN_.:-]*$`)

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\n", "&#10;", "\t", "&#9;", "\r", "&#13;")

func attr(b *strings.Builder, name, value string) {
	b.WriteByte(' ')
	b.WriteString(name)
	b.WriteString(`="`)
	b.WriteString(escaper.Replace(value))
	b.WriteByte('"')
}
