package pcs

import (
	"slices"
	"sort"

	"holdfast/internal/cli/pcs/edit"
	"holdfast/internal/cli/pcs/show"
	"holdfast/internal/cluster/cib"
)

// editPairs reads NAME=VALUE words for package edit.
func editPairs(words []string) ([]edit.Pair, error) {
	list, err := parsePairs(words)
	if err != nil {
		return nil, err
	}
	out := make([]edit.Pair, len(list))
	for i, p := range list {
		out[i] = edit.Pair{Name: p.name, Value: p.value}
	}
	return out, nil
}

func (c *call) propertySet() error {
	if len(c.words) == 0 {
		return c.usage("name a property and its value")
	}
	pairs, err := editPairs(c.words)
	if err != nil {
		return err
	}
	if err := c.change(func(e *edit.Editor) error { return e.SetProperties(pairs) }); err != nil {
		return err
	}
	for _, p := range pairs {
		if p.Name == "no-quorum-policy" && p.Value == "ignore" {
			c.warn("%s", ignoreQuorum)
		}
	}
	return nil
}

// ignoreQuorum is what no-quorum-policy=ignore comes to (DESIGN, opt-in).
const ignoreQuorum = "no-quorum-policy=ignore means forking: of two hosts without a witness, each that loses the other goes on alone once " +
	"leases are over; when only the link between them was lost, both serve, and what one of them has acknowledged is given up later (holdfast drbd heal).\n" +
	"         With three or more votes it acts as 'stop' for whatever holds a replicated volume. Two hosts survive the loss of either one, and lose nothing, with a witness: holdfast witness add HOST"

func (c *call) propertyUnset() error {
	if len(c.words) == 0 {
		return c.usage("name a property")
	}
	return c.change(func(e *edit.Editor) error { return e.UnsetProperties(c.words) })
}

func (c *call) propertyShow() error {
	if c.args.has("defaults") {
		return c.propertyDefaults()
	}
	doc, err := c.document()
	if err != nil {
		return err
	}
	names := make([]string, len(c.words))
	for i, w := range c.words {
		names[i] = edit.PropertyName(w)
	}
	data := map[string]string{}
	for _, p := range setProperties(doc) {
		data[p.Name] = p.Value
	}
	lines := show.Properties(doc, names)
	if c.args.has("all") {
		lines = allProperties(data)
	}
	return c.textOrJSON(lines, data)
}

func setProperties(doc *cib.Document) []edit.Pair {
	var out []edit.Pair
	for _, set := range doc.CRMConfig().ChildrenNamed("cluster_property_set") {
		for _, nv := range set.ChildrenNamed("nvpair") {
			out = append(out, edit.Pair{Name: nv.Get("name"), Value: nv.Get("value")})
		}
	}
	return out
}

// allProperties lists set properties and the defaults of the others.
func allProperties(set map[string]string) []string {
	lines := []string{"Cluster Properties:"}
	names := make([]string, 0, len(set))
	values := map[string]string{}
	for _, p := range edit.Properties() {
		values[p.Name] = p.Default
		names = append(names, p.Name)
	}
	for n, v := range set {
		values[n] = v
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range slices.Compact(names) {
		if values[n] != "" {
			lines = append(lines, " "+n+": "+values[n])
		}
	}
	return lines
}

func (c *call) propertyDefaults() error {
	data, lines := map[string]string{}, []string(nil)
	for _, p := range edit.Properties() {
		if p.Default != "" && (len(c.words) == 0 || slices.Contains(c.words, p.Name)) {
			data[p.Name] = p.Default
			lines = append(lines, p.Name+"="+p.Default)
		}
	}
	return c.textOrJSON(lines, data)
}

func (c *call) propertyDescribe() error {
	data, lines := map[string]edit.Property{}, []string(nil)
	for _, p := range edit.Properties() {
		if len(c.words) > 0 && !slices.Contains(c.words, p.Name) {
			continue
		}
		data[p.Name] = p
		lines = append(lines, p.Name, "  Description: "+p.About, "  Type: "+p.Kind, "  Default: "+p.Default)
	}
	return c.textOrJSON(lines, data)
}
