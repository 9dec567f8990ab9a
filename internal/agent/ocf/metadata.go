package ocf

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/agent/volume"
	"holdfast/internal/paths"
)

// metadataTimeout bounds a meta-data action: agents only print a text.
const metadataTimeout = 30 * time.Second

// Metadata asks an ocf agent what it takes. The built-in agents answer without a script being installed.
func Metadata(root paths.Root, spec agent.Spec) (*agent.Metadata, error) {
	if spec == volume.Spec() {
		return ParseMetadata([]byte(volume.MetadataXML))
	}
	if err := runnable(Path(root, spec)); err != nil {
		return nil, fmt.Errorf("agent %s: %w", spec, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), metadataTimeout)
	defer cancel()
	r := New(root, false).Run(ctx, agent.Operation{Resource: spec.Type, Spec: spec, Action: "meta-data", Timeout: metadataTimeout})
	if r.Status != agent.Done || r.Code != agent.OK {
		return nil, fmt.Errorf("ask agent %s for its metadata: exit code %d: %s", spec, r.Code, complaint(r))
	}
	m, err := ParseMetadata(r.Stdout)
	if err != nil {
		return nil, fmt.Errorf("metadata of agent %s: %w", spec, err)
	}
	return m, nil
}

func complaint(r agent.Result) string {
	if r.ExitReason != "" {
		return r.ExitReason
	}
	return strings.TrimSpace(string(r.Stderr))
}

// The document as agents print it. Attributes are strings because agents write booleans in many ways.
type xmlAgent struct {
	XMLName   xml.Name  `xml:"resource-agent"`
	Name      string    `xml:"name,attr"`
	Version   string    `xml:"version,attr"`
	Versions  []string  `xml:"version"`
	LongDesc  []xmlText `xml:"longdesc"`
	ShortDesc []xmlText `xml:"shortdesc"`
	Params    []struct {
		Name       string    `xml:"name,attr"`
		Required   string    `xml:"required,attr"`
		Unique     string    `xml:"unique,attr"`
		Group      string    `xml:"unique-group,attr"`
		Deprecated *xmlNote  `xml:"deprecated"`
		Attr       string    `xml:"deprecated,attr"`
		LongDesc   []xmlText `xml:"longdesc"`
		ShortDesc  []xmlText `xml:"shortdesc"`
		Content    struct {
			Type    string  `xml:"type,attr"`
			Default *string `xml:"default,attr"`
		} `xml:"content"`
	} `xml:"parameters>parameter"`
	Actions []struct {
		Name     string `xml:"name,attr"`
		Role     string `xml:"role,attr"`
		Timeout  string `xml:"timeout,attr"`
		Interval string `xml:"interval,attr"`
		Depth    string `xml:"depth,attr"`
		Delay    string `xml:"start-delay,attr"`
	} `xml:"actions>action"`
}

type xmlText struct {
	Lang string `xml:"lang,attr"`
	Text string `xml:",chardata"`
}

type xmlNote struct {
	Replaced []struct {
		Name string `xml:"name,attr"`
	} `xml:"replaced-with"`
}

// ParseMetadata reads a resource-agent document. Elements it does not know are passed over; a parameter or action
// without a name is an error.
func ParseMetadata(data []byte) (*agent.Metadata, error) {
	var doc xmlAgent
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("not a resource-agent document: %w", err)
	}
	m := &agent.Metadata{Name: doc.Name, Version: doc.Version, ShortDesc: english(doc.ShortDesc), LongDesc: english(doc.LongDesc)}
	if err := addParams(m, &doc); err != nil {
		return nil, err
	}
	for _, a := range doc.Actions {
		if a.Name == "" {
			return nil, fmt.Errorf("an action of agent %q has no name", doc.Name)
		}
		m.Actions = append(m.Actions, agent.Action{Name: a.Name, Role: role(a.Role), Timeout: a.Timeout,
			Interval: a.Interval, Depth: a.Depth, StartDelay: a.Delay})
	}
	return m, nil
}

func addParams(m *agent.Metadata, doc *xmlAgent) error {
	for _, p := range doc.Params {
		if p.Name == "" {
			return fmt.Errorf("a parameter of agent %q has no name", doc.Name)
		}
		out := agent.Param{Name: p.Name, Required: truth(p.Required), Unique: truth(p.Unique), UniqueGroup: p.Group,
			Type: p.Content.Type, ShortDesc: english(p.ShortDesc), LongDesc: english(p.LongDesc),
			Deprecated: p.Deprecated != nil || truth(p.Attr)}
		if p.Content.Default != nil {
			out.Default, out.HasDefault = *p.Content.Default, true
		}
		if p.Deprecated != nil {
			for _, r := range p.Deprecated.Replaced {
				out.ReplacedBy = append(out.ReplacedBy, r.Name)
			}
		}
		m.Params = append(m.Params, out)
	}
	return nil
}

func english(texts []xmlText) string {
	for _, t := range texts {
		if t.Lang == "" || strings.HasPrefix(t.Lang, "en") {
			return strings.TrimSpace(t.Text)
		}
	}
	if len(texts) > 0 {
		return strings.TrimSpace(texts[0].Text)
	}
	return ""
}

// truth reads a boolean as ocf_is_true of the standard's shell functions does.
func truth(s string) bool {
	switch strings.ToLower(s) {
	case "1", "yes", "true", "ja", "on":
		return true
	}
	return false
}

// role gives the present word for a role.
func role(s string) string {
	switch strings.ToLower(s) {
	case "master", "promoted":
		return "Promoted"
	case "slave", "unpromoted":
		return "Unpromoted"
	}
	return s
}
