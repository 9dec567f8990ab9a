package agent

import "slices"

// Metadata is what an agent says of itself, from the XML its meta-data action prints (the resource-agent document of the
// OCF resource agent API 1.0 and 1.1). Texts are of the English variant where there are several.
type Metadata struct {
	Name, Version       string
	ShortDesc, LongDesc string
	Params              []Param
	Actions             []Action
}

// Param is a parameter an agent takes.
type Param struct {
	Name                string
	Required            bool
	Unique              bool
	UniqueGroup         string // OCF 1.1: parameters that are unique together; empty when none
	Type                string // string, integer, boolean, second, select
	Default             string
	HasDefault          bool // an empty default is a default
	Deprecated          bool
	ReplacedBy          []string // what to write instead of a deprecated parameter
	ShortDesc, LongDesc string
}

// Action is an operation an agent supports, with the times it advises. Times are as the agent wrote them ("20s",
// "20"), empty when it wrote none; Role is in OCF 1.1 words (Promoted, Unpromoted) whatever the agent wrote.
type Action struct {
	Name, Role        string
	Timeout, Interval string
	Depth, StartDelay string
}

// Param finds a parameter by its name; nil when the agent has none of it.
func (m *Metadata) Param(name string) *Param {
	for i := range m.Params {
		if m.Params[i].Name == name {
			return &m.Params[i]
		}
	}
	return nil
}

// Action finds the first action of that name and role (any role when empty); nil when there is none.
func (m *Metadata) Action(name, role string) *Action {
	for i := range m.Actions {
		if m.Actions[i].Name == name && (role == "" || m.Actions[i].Role == role) {
			return &m.Actions[i]
		}
	}
	return nil
}

// Missing lists the required parameters without a default that params does not give, in the agent's order.
func (m *Metadata) Missing(params map[string]string) []string {
	var out []string
	for _, p := range m.Params {
		if _, given := params[p.Name]; p.Required && !given {
			out = append(out, p.Name)
		}
	}
	return out
}

// Invalid lists, in sorted order, the names in params the agent does not take.
func (m *Metadata) Invalid(params map[string]string) []string {
	var out []string
	for name := range params {
		if m.Param(name) == nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
