package simulate

import (
	"encoding/json"
	"io"

	"holdfast/internal/cluster/cib"
	core "holdfast/internal/cluster/simulate"
)

// printResult prints what a command has to say in a structured format: XML in the manner of Pacemaker's tools, or the same as
// JSON.
func printResult(out io.Writer, format, request string, code int, parts ...*cib.Element) error {
	root := core.ResultElement(request, code, message(code), parts...)
	if format == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(object(root))
	}
	_, err := out.Write(root.Bytes())
	return err
}

// message words an exit code as Pacemaker's tools do.
func message(code int) string {
	switch code {
	case exitOK:
		return "OK"
	case exitUsage:
		return "Incorrect usage"
	case exitNoInput:
		return "Input file not available"
	case exitConfig:
		return "Invalid configuration"
	}
	return "Error occurred"
}

// object turns an element into an object: its attributes, with "element" as its name, "text" and "children" in order.
func object(e *cib.Element) map[string]any {
	o := map[string]any{"element": e.Name}
	for _, a := range e.Attrs {
		o[a.Name] = a.Value
	}
	if e.Text != "" {
		o["text"] = e.Text
	}
	var children []any
	for _, k := range e.Children {
		children = append(children, object(k))
	}
	if children != nil {
		o["children"] = children
	}
	return o
}
