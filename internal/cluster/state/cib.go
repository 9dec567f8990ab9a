package state

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"holdfast/internal/cluster/cib"
)

// CIBReplace replaces the configuration section of the CIB (and the root's attributes); the status section stays. The
// proposer has validated it (cib.Validate): the log checks only what keeps the state in one piece, since what counts as
// valid differs between versions.
type CIBReplace struct {
	// Base is the version the change was made from. It is refused if the configuration (admin_epoch, epoch) has changed
	// since. Empty replaces whatever is there.
	Base string `json:"base,omitempty"`
	XML  string `json:"xml"`
	// By is who (update-user), Client with what (update-client: cibadmin, crm_resource, ...), Origin the node.
	By          string `json:"by,omitempty"`
	Client      string `json:"client,omitempty"`
	Origin      string `json:"origin,omitempty"`
	UnixSeconds int64  `json:"unix_seconds"`
}

func (c *CIBReplace) verb() string { return "cib.replace" }

func (c *CIBReplace) apply(t *tx) (Result, error) {
	if err := t.needCluster(); err != nil {
		return Result{}, err
	}
	now := t.CIB.Version()
	if err := checkBase(c.Base, now); err != nil {
		return Result{CIB: now.String()}, err
	}
	doc, err := parseCIB(c.XML)
	if err != nil {
		return Result{CIB: now.String()}, err
	}
	if err := enterNodes(doc, t.Members, t.MemberNames()); err != nil {
		return Result{CIB: now.String()}, err
	}
	if bytes.Equal(doc.Configuration().Bytes(), t.CIB.Configuration().Bytes()) && doc.Version().AdminEpoch <= now.AdminEpoch {
		return Result{CIB: now.String()}, nil
	}
	next := nextVersion(now, doc.Version())
	adopt(doc, t.CIB, next)
	stamp(doc, c)
	t.CIB = doc
	return Result{CIB: next.String()}, nil
}

func checkBase(base string, now cib.Version) error {
	if base == "" {
		return nil
	}
	b, err := cib.ParseVersion(base)
	if err != nil {
		return err
	}
	if b.AdminEpoch != now.AdminEpoch || b.Epoch != now.Epoch {
		return refusal("the configuration has changed since version %s (it is %s now); fetch it again, repeat the change and push that", base, now)
	}
	return nil
}

// nextVersion counts on from the present version; an administrator may raise admin_epoch.
func nextVersion(now, pushed cib.Version) cib.Version {
	if pushed.AdminEpoch > now.AdminEpoch {
		return cib.Version{AdminEpoch: pushed.AdminEpoch, Epoch: pushed.Epoch}
	}
	return cib.Version{AdminEpoch: now.AdminEpoch, Epoch: now.Epoch + 1}
}

// adopt makes doc the successor of old: with its status and the root attributes only the cluster may set.
func adopt(doc, old *cib.Document, v cib.Version) {
	doc.Root.Children = slices.DeleteFunc(doc.Root.Children, func(e *cib.Element) bool { return e.Name == "status" })
	doc.Root.Append(old.Status())
	doc.SetVersion(v)
	for _, name := range headerNames() {
		if value, ok := old.Root.Lookup(name); ok {
			doc.Root.Set(name, value)
		} else {
			doc.Root.Del(name)
		}
	}
}

// headerNames are the attributes of <cib> that tell the cluster's state rather than its configuration, sorted.
func headerNames() []string { return []string{"dc-uuid", "have-quorum", "no-quorum-panic"} }

func stamp(doc *cib.Document, c *CIBReplace) {
	set := func(name, value string) {
		if value = printable(value); value != "" {
			doc.Root.Set(name, value)
		}
	}
	set("cib-last-written", time.Unix(c.UnixSeconds, 0).UTC().Format(time.ANSIC))
	set("update-origin", c.Origin)
	set("update-client", c.Client)
	set("update-user", c.By)
}

// parseCIB reads a document and gives it every section, so that reading it later never adds one.
func parseCIB(xml string) (*cib.Document, error) {
	doc, err := cib.Parse([]byte(xml))
	if err != nil {
		return nil, fmt.Errorf("the CIB cannot be read: %w", err)
	}
	complete(doc)
	return doc, nil
}

func complete(doc *cib.Document) {
	doc.CRMConfig()
	doc.Nodes()
	doc.Resources()
	doc.Constraints()
	doc.Status()
}

// enterNodes makes the <nodes> section name every data member under its id.
func enterNodes(doc *cib.Document, members map[string]Member, names []string) error {
	for _, name := range names {
		m := members[name]
		if m.Kind != Data {
			continue
		}
		id := nodeID(m)
		if n := doc.Node(name); n != nil && n.ID() != id {
			return refusal("the CIB calls node %s id %s, but it is %s", name, n.ID(), id)
		}
		if n := doc.Nodes().ChildWith("node", "id", id); n != nil && n.Get("uname") != name {
			return refusal("the CIB gives id %s to node %s, but it is that of %s", id, n.Get("uname"), name)
		}
		doc.AddNode(id, name)
	}
	return nil
}

// initCIB makes the first document.
func (t *tx) initCIB(xml string, now int64) (Result, error) {
	doc := cib.Empty(t.Cluster.Name)
	if xml != "" {
		var err error
		if doc, err = parseCIB(xml); err != nil {
			return Result{}, err
		}
		doc.Status().Children = nil
	} else {
		doc.SetProperty("cluster-infrastructure", "corosync")
		doc.SetProperty("have-watchdog", "false")
		doc.SetProperty("dc-version", "holdfast")
	}
	complete(doc)
	if err := enterNodes(doc, t.Members, t.MemberNames()); err != nil {
		return Result{}, err
	}
	doc.BumpEpoch()
	stamp(doc, &CIBReplace{UnixSeconds: now})
	t.CIB = doc
	return Result{CIB: doc.Version().String()}, nil
}

// nodeID is a member's id in the CIB.
func nodeID(m Member) string { return strconv.Itoa(m.NodeID) }

// cibNode enters a member into the CIB or takes it out.
func (t *tx) cibNode(m Member, in bool) error {
	if m.Kind != Data {
		return nil
	}
	doc := t.CIB.Clone()
	if in {
		doc.AddNode(nodeID(m), m.Name)
	} else {
		if n := doc.Node(m.Name); n != nil {
			doc.Nodes().Remove(n)
		}
		doc.ForgetNode(m.Name)
	}
	doc.BumpEpoch()
	t.CIB = doc
	return nil
}

// cibJoined writes the state of a node that has begun a session: it runs nothing yet.
func (t *tx) cibJoined(m Member) error {
	return t.cibNodeState(m, cib.OnlineState(nodeID(m), m.Name))
}

// cibLost writes the state of a node whose session is over: nothing it ran is left, and what it said of itself is void.
func (t *tx) cibLost(m Member) error {
	return t.cibNodeState(m, cib.OfflineState(nodeID(m), m.Name))
}

func (t *tx) cibNodeState(m Member, s cib.NodeState) error {
	if m.Kind != Data {
		return nil
	}
	doc := fork(t.CIB, m.Name)
	doc.ForgetNode(m.Name)
	doc.SetNodeState(s)
	doc.BumpNumUpdates()
	t.CIB = doc
	return nil
}

// fork copies what edits of one node's status change, and shares the rest with the old document. The empty name copies
// every node's.
func fork(doc *cib.Document, node string) *cib.Document {
	root := *doc.Root
	root.Attrs = slices.Clone(root.Attrs)
	root.Children = slices.Clone(root.Children)
	for i, e := range root.Children {
		if e.Name != "status" {
			continue
		}
		status := *e
		status.Attrs = slices.Clone(e.Attrs)
		status.Children = slices.Clone(e.Children)
		for j, s := range status.Children {
			if node == "" || s.Get("uname") == node {
				status.Children[j] = s.Clone()
			}
		}
		root.Children[i] = &status
	}
	return &cib.Document{Root: &root}
}

func (s *snapshot) restoreCIB() error {
	if s.CIB == "" {
		return nil
	}
	doc, err := parseCIB(s.CIB)
	if err != nil {
		return fmt.Errorf("restore snapshot of the cluster state: %w", err)
	}
	s.View.CIB = doc
	return nil
}

// check looks at what a snapshot must have for the commands to work on it.
func (v *View) check() error {
	if (v.Cluster.UUID == "") != (v.CIB == nil) {
		return errors.New("cluster and CIB do not come together")
	}
	for _, name := range v.VolumeNames() {
		if len(v.Volumes[name].U) == 0 {
			return fmt.Errorf("volume %s has no up-to-date replica", name)
		}
	}
	return nil
}
