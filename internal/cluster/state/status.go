package state

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"holdfast/internal/cluster"
	"holdfast/internal/cluster/cib"
)

// CIBStatus edits the status section of the CIB: all edits or none. The update counter rises by one.
type CIBStatus struct {
	// Term, when not 0, is the term of the leader the edits come from; under another leader they are refused.
	Term  uint64       `json:"term,omitempty"`
	Edits []StatusEdit `json:"edits,omitempty"`
	// Reports are carried out after Edits.
	Reports []ReportEdits `json:"reports,omitempty"`
}

// ReportEdits are the edits an executor's report makes. They are made once: a report that comes again, to this leader or to
// the next, changes nothing. Nor does one of a lease session that is over.
type ReportEdits struct {
	Node string `json:"node"`
	// Session is the node's lease session. Seq numbers the reports of a node, rising; a node reports in this order.
	Session uint64       `json:"session"`
	Seq     uint64       `json:"seq"`
	Edits   []StatusEdit `json:"edits"`
}

// StatusEdit is one edit; exactly one of its parts is set.
type StatusEdit struct {
	// NodeState: a node may be set online only while its lease is active, and out of the membership only when it is not.
	NodeState *cib.NodeState `json:"node_state,omitempty"`
	// Op enters the result of an operation.
	Op *OpEdit `json:"op,omitempty"`
	// Transient sets a transient attribute; an empty value removes it. "shutdown" asks for the node's shutdown.
	Transient *AttributeEdit `json:"transient,omitempty"`
	// Failure counts a failure; ClearFailures forgets those of a resource.
	Failure       *FailureEdit `json:"failure,omitempty"`
	ClearFailures *HistoryEdit `json:"clear_failures,omitempty"`
	// DeleteHistory forgets the operations of a resource; with a Task, only that recurring one.
	DeleteHistory *HistoryEdit `json:"delete_history,omitempty"`
	// Header sets an attribute of <cib> that tells the cluster's state: dc-uuid, have-quorum, no-quorum-panic. Node is unused.
	Header *AttributeEdit `json:"header,omitempty"`
}

// OpEdit is the result of an operation. With a Session, it counts only while that lease session of its node is active:
// what a fenced node still reports is dropped.
type OpEdit struct {
	Session uint64       `json:"session,omitempty"`
	Record  cib.OpRecord `json:"record"`
}

// AttributeEdit sets an attribute of a node.
type AttributeEdit struct {
	Node  string `json:"node,omitempty"`
	Name  string `json:"name"`
	Value string `json:"value"`
	// Session as in OpEdit.
	Session uint64 `json:"session,omitempty"`
}

// FailureEdit counts a failed operation; see cib.Document.RecordFailure.
type FailureEdit struct {
	Node        string        `json:"node"`
	Resource    string        `json:"resource"`
	Task        string        `json:"task"`
	Interval    time.Duration `json:"interval"`
	Fatal       bool          `json:"fatal,omitempty"`
	UnixSeconds int64         `json:"unix_seconds"`
}

// HistoryEdit names a resource on a node. For DeleteHistory an empty Node or Resource means all.
type HistoryEdit struct {
	Node     string        `json:"node,omitempty"`
	Resource string        `json:"resource,omitempty"`
	Task     string        `json:"task,omitempty"`
	Interval time.Duration `json:"interval,omitempty"`
}

func (c *CIBStatus) verb() string { return "cib.status" }

func (c *CIBStatus) apply(t *tx) (Result, error) {
	if err := t.needCluster(); err != nil {
		return Result{}, err
	}
	result := Result{CIB: t.CIB.Version().String()}
	if c.Term != 0 && c.Term != t.term {
		return result, refusal("the status comes from the leader of term %d, the log is in term %d", c.Term, t.term)
	}
	if n := c.size(); n == 0 || n > cluster.MaxStatusEdits {
		return result, refusal("%d status edits are not 1 to %d", n, cluster.MaxStatusEdits)
	}
	edits := c.Edits
	for _, r := range c.Reports {
		edits = append(edits[:len(edits):len(edits)], t.takeReport(r)...)
	}
	if len(edits) == 0 {
		return result, nil
	}
	doc := fork(t.CIB, onlyNode(edits))
	for i, e := range edits {
		if err := t.edit(doc, e); err != nil {
			return result, refusal("status edit %d: %s", i+1, err)
		}
	}
	doc.BumpNumUpdates()
	t.CIB = doc
	return Result{CIB: doc.Version().String()}, nil
}

// size counts the edits.
func (c *CIBStatus) size() int {
	n := len(c.Edits)
	for _, r := range c.Reports {
		n += len(r.Edits)
	}
	return n
}

// takeReport notes a report as recorded and gives its edits; none if it has been recorded before or its session is over.
func (t *tx) takeReport(r ReportEdits) []StatusEdit {
	l := t.Leases[r.Node]
	if !t.LeaseLive(r.Node, r.Session) || r.Seq <= l.Reported {
		return nil
	}
	l.Reported = r.Seq
	t.Leases = with(t.Leases, r.Node, l)
	return r.Edits
}

// onlyNode is the node all edits are about, empty when there are several.
func onlyNode(edits []StatusEdit) string {
	node := edits[0].node()
	for _, e := range edits {
		if e.Header == nil && e.node() != node {
			return ""
		}
	}
	return node
}

func (e StatusEdit) node() string {
	switch {
	case e.NodeState != nil:
		return e.NodeState.Name
	case e.Op != nil:
		return e.Op.Record.Node
	case e.Transient != nil:
		return e.Transient.Node
	case e.Failure != nil:
		return e.Failure.Node
	case e.ClearFailures != nil:
		return e.ClearFailures.Node
	case e.DeleteHistory != nil:
		return e.DeleteHistory.Node
	}
	return ""
}

func (e StatusEdit) parts() int {
	n := 0
	for _, set := range [...]bool{e.NodeState != nil, e.Op != nil, e.Transient != nil, e.Failure != nil,
		e.ClearFailures != nil, e.DeleteHistory != nil, e.Header != nil} {
		if set {
			n++
		}
	}
	return n
}

// edit carries out one edit on doc, which is this command's own copy.
func (t *tx) edit(doc *cib.Document, e StatusEdit) error {
	if e.parts() != 1 {
		return refusal("it has %d parts instead of one", e.parts())
	}
	if e.Header != nil {
		return editHeader(doc, *e.Header)
	}
	if e.DeleteHistory != nil && e.DeleteHistory.Node == "" {
		doc.DeleteHistory("", e.DeleteHistory.Resource)
		return nil
	}
	m, err := t.member(e.node())
	if err != nil {
		return err
	}
	if m.Kind != Data {
		return refusal("%s is a %s and no node of the CIB", m.Name, m.Kind)
	}
	switch {
	case e.NodeState != nil:
		return t.editNodeState(doc, m, *e.NodeState)
	case e.Op != nil:
		return t.editOp(doc, m, *e.Op)
	case e.Transient != nil:
		return t.editTransient(doc, *e.Transient)
	}
	return editHistory(doc, e)
}

func editHeader(doc *cib.Document, a AttributeEdit) error {
	if !slices.Contains(headerNames(), a.Name) {
		return refusal("%.40q is no attribute of <cib> for a status edit", a.Name)
	}
	if a.Value == "" {
		doc.Root.Del(a.Name)
		return nil
	}
	doc.Root.Set(a.Name, printable(a.Value))
	return nil
}

func (t *tx) editNodeState(doc *cib.Document, m Member, s cib.NodeState) error {
	active := t.Leases[m.Name].State == LeaseActive
	if s.Online && !active {
		return refusal("%s cannot be online without a lease", m.Name)
	}
	if !s.Member && active {
		return refusal("%s still has its lease (session %d) and may be running things", m.Name, t.Leases[m.Name].Session)
	}
	s.ID = nodeID(m)
	s.Join, s.Expected = printable(s.Join), printable(s.Expected)
	doc.SetNodeState(s)
	return nil
}

func (t *tx) editOp(doc *cib.Document, m Member, op OpEdit) error {
	if op.Session != 0 && !t.LeaseLive(m.Name, op.Session) {
		return nil
	}
	r := op.Record
	if r.Resource == "" || r.Task == "" {
		return refusal("the result of an operation names no resource or no task")
	}
	if !cib.Recordable(r.Task) {
		return refusal("%.40q is not kept in the history", r.Task)
	}
	r.NodeID = nodeID(m)
	for _, s := range []*string{&r.Resource, &r.Class, &r.Provider, &r.Type, &r.Task, &r.Origin, &r.ExitReason, &r.Digest} {
		*s = printable(*s)
	}
	cib.RecordOp(doc, r)
	return nil
}

func (t *tx) editTransient(doc *cib.Document, a AttributeEdit) error {
	if a.Session != 0 && !t.LeaseLive(a.Node, a.Session) {
		return nil
	}
	if a.Name == "" || len(a.Name) > cluster.MaxName {
		return refusal("an attribute name has 1 to %d characters, not %d", cluster.MaxName, len(a.Name))
	}
	doc.SetTransientAttribute(a.Node, printable(a.Name), printable(a.Value))
	return nil
}

func editHistory(doc *cib.Document, e StatusEdit) error {
	switch {
	case e.Failure != nil:
		f := e.Failure
		if f.Resource == "" || f.Task == "" {
			return refusal("a failure names no resource or no task")
		}
		doc.RecordFailure(f.Node, printable(f.Resource), printable(f.Task), f.Interval, f.Fatal, time.Unix(f.UnixSeconds, 0))
	case e.ClearFailures != nil:
		h := e.ClearFailures
		doc.ClearFailures(h.Node, h.Resource, h.Task, h.Interval)
	case e.DeleteHistory != nil && e.DeleteHistory.Task != "":
		h := e.DeleteHistory
		doc.DeleteRecurring(h.Node, h.Resource, h.Task, h.Interval)
	case e.DeleteHistory != nil:
		doc.DeleteHistory(e.DeleteHistory.Node, e.DeleteHistory.Resource)
	}
	return nil
}

// printable replaces what XML cannot hold: agents print what they like, and a document that cannot be read back would be
// the end of the log.
func printable(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "?")
	}
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 {
			return r
		}
		return '?'
	}, s)
}
