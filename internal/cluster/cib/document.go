package cib

import (
	"fmt"
	"strconv"
	"strings"
)

// FeatureSet is the crm_feature_set we write: that of Pacemaker 2.1.5, so that its tools read our documents.
const FeatureSet = "3.16.1"

// Schema is the schema our documents follow.
const Schema = "pacemaker-3.9"

// Document is a CIB.
type Document struct {
	Root *Element
}

// Empty makes a CIB without nodes or resources. The cluster name, when not empty, becomes the property cluster-name.
func Empty(clusterName string) *Document {
	d := &Document{Root: NewElement("cib", "crm_feature_set", FeatureSet, "validate-with", Schema,
		"epoch", "0", "num_updates", "0", "admin_epoch", "0")}
	conf := d.Root.Append(NewElement("configuration"))
	for _, s := range []string{"crm_config", "nodes", "resources", "constraints"} {
		conf.Append(NewElement(s))
	}
	d.Root.Append(NewElement("status"))
	if clusterName != "" {
		d.SetProperty("cluster-name", clusterName)
	}
	return d
}

// Clone copies the document.
func (d *Document) Clone() *Document { return &Document{Root: d.Root.Clone()} }

// Configuration is the section <configuration>, made when missing.
func (d *Document) Configuration() *Element { return d.Root.EnsureChild("configuration") }

// CRMConfig is the section <crm_config>, made when missing.
func (d *Document) CRMConfig() *Element { return d.Configuration().EnsureChild("crm_config") }

// Nodes is the section <nodes>, made when missing.
func (d *Document) Nodes() *Element { return d.Configuration().EnsureChild("nodes") }

// Resources is the section <resources>, made when missing.
func (d *Document) Resources() *Element { return d.Configuration().EnsureChild("resources") }

// Constraints is the section <constraints>, made when missing.
func (d *Document) Constraints() *Element { return d.Configuration().EnsureChild("constraints") }

// Status is the section <status>, made when missing.
func (d *Document) Status() *Element { return d.Root.EnsureChild("status") }

// Version orders the states of a CIB: first by AdminEpoch, set by administrators; then by Epoch, raised with each change
// of the configuration; then by NumUpdates, raised with each change of the status.
type Version struct {
	AdminEpoch, Epoch, NumUpdates int
}

// String gives the version as Pacemaker logs it: 0.12.3.
func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.AdminEpoch, v.Epoch, v.NumUpdates)
}

// ParseVersion reads the form of Version.String.
func ParseVersion(s string) (Version, error) {
	parts := strings.Split(s, ".")
	var n [3]int
	if len(parts) != len(n) {
		return Version{}, fmt.Errorf("CIB version %q: want ADMIN_EPOCH.EPOCH.NUM_UPDATES", s)
	}
	for i, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil || v < 0 {
			return Version{}, fmt.Errorf("CIB version %q: %q is not a number", s, p)
		}
		n[i] = v
	}
	return Version{n[0], n[1], n[2]}, nil
}

// Compare returns -1, 0 or 1 as v is older than, equal to or newer than w.
func (v Version) Compare(w Version) int {
	for _, d := range [3]int{v.AdminEpoch - w.AdminEpoch, v.Epoch - w.Epoch, v.NumUpdates - w.NumUpdates} {
		if d < 0 {
			return -1
		}
		if d > 0 {
			return 1
		}
	}
	return 0
}

// Version reads the document's version; a missing or bad number counts as 0.
func (d *Document) Version() Version {
	num := func(name string) int {
		n, err := strconv.Atoi(d.Root.Get(name))
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	return Version{num("admin_epoch"), num("epoch"), num("num_updates")}
}

// SetVersion writes the document's version.
func (d *Document) SetVersion(v Version) {
	d.Root.Set("admin_epoch", strconv.Itoa(v.AdminEpoch))
	d.Root.Set("epoch", strconv.Itoa(v.Epoch))
	d.Root.Set("num_updates", strconv.Itoa(v.NumUpdates))
}

// BumpEpoch notes a change of the configuration: the epoch rises, the update counter returns to 0.
func (d *Document) BumpEpoch() {
	v := d.Version()
	d.SetVersion(Version{v.AdminEpoch, v.Epoch + 1, 0})
}

// BumpNumUpdates notes a change of the status.
func (d *Document) BumpNumUpdates() {
	v := d.Version()
	v.NumUpdates++
	d.SetVersion(v)
}
