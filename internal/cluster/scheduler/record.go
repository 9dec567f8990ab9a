package scheduler

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/cluster/cib"
)

// OCF exit codes, as agent.Code has them (that package is a seam of the executor, not of this core).
const (
	rcOK             = 0
	rcInvalidParam   = 2
	rcUnimplemented  = 3
	rcNoPrivilege    = 4
	rcNotInstalled   = 5
	rcNotConfigured  = 6
	rcNotRunning     = 7
	rcPromoted       = 8
	rcFailedPromoted = 9
	rcDegraded       = 190
	rcUnknown        = 193
	rcDegradedProm   = 191
)

// op-status values.
const (
	stPending      = -1
	stDone         = 0
	stCancelled    = 1
	stTimeout      = 2
	stNotSupported = 3
	stError        = 4
	stHardError    = 5
	stFatalError   = 6
	stNotInstalled = 7
	stInvalid      = 11
)

// record is one entry of a resource's history on a node.
type record struct {
	xml      *cib.Element
	id, key  string
	task     string
	interval time.Duration
	callID   int
	rc       int
	status   int
	expected int // -1 when unknown
	transID  int
	origin   string
	changed  time.Time // zero when unknown
}

// readRecord reads an <lrm_rsc_op>; ok is false for one that means nothing.
func readRecord(e *cib.Element) (r record, ok bool) {
	r = record{xml: e, id: e.ID(), task: e.Get("operation"), callID: intOr(e.Get("call-id"), -1),
		rc: intOr(e.Get("rc-code"), 193), status: intOr(e.Get("op-status"), stPending), expected: -1, transID: -1}
	r.key = e.Get("operation_key")
	if r.key == "" {
		r.key = r.id
	}
	ms := intOr(e.Get("interval"), 0)
	r.interval = time.Duration(ms) * time.Millisecond
	if t, err := strconv.ParseInt(e.Get("last-rc-change"), 10, 64); err == nil && t > 0 {
		r.changed = time.Unix(t, 0)
	}
	r.readKey(e.Get("transition-key"), e.Get("transition-magic"))
	if e.Get("rc-code") == "" {
		r.readMagic(e.Get("transition-magic"))
	}
	return r, r.task != "" && r.status >= stPending && r.status <= 12
}

// readKey takes the expected code and the transition from ACTION:TRANSITION:TARGET:ORIGIN.
func (r *record) readKey(key, magic string) {
	if key == "" {
		_, key, _ = strings.Cut(magic, ";")
	}
	parts := strings.SplitN(key, ":", 4)
	if len(parts) != 4 {
		return
	}
	r.transID = intOr(parts[1], -1)
	r.expected = intOr(parts[2], -1)
	r.origin = parts[3]
}

// readMagic takes status and code from STATUS:RC;KEY.
func (r *record) readMagic(magic string) {
	head, _, _ := strings.Cut(magic, ";")
	status, rc, found := strings.Cut(head, ":")
	if found {
		r.status, r.rc = intOr(status, r.status), intOr(rc, r.rc)
	}
}

func (r *record) isProbe() bool { return r.task == "monitor" && r.interval == 0 }

func (r *record) isLastFailure() bool { return strings.HasSuffix(r.id, "_last_failure_0") }

// sortRecords puts a history in the order in which things happened. Of the two entries of one failure the one that keeps it in
// mind comes first. A recurring operation that succeeded and then failed within a second has one call-id in both entries: there
// the failure is the later.
func sortRecords(list []record) {
	slices.SortStableFunc(list, func(a, b record) int {
		if d := compareRecords(a, b); d != 0 || a.isLastFailure() == b.isLastFailure() {
			return d
		}
		return prefers(a.isLastFailure() == (a.rc == b.rc))
	})
}

func compareRecords(a, b record) int {
	switch {
	case a.id == b.id:
		return 0
	case a.callID == -1 && b.callID == -1:
		return 0
	case a.callID >= 0 && b.callID >= 0 && a.callID != b.callID:
		return cmp.Compare(a.callID, b.callID)
	case a.callID >= 0 && b.callID >= 0:
		return a.changed.Compare(b.changed)
	}
	return comparePending(a, b)
}

// comparePending orders a pending operation, which has no call id yet, by its transition.
func comparePending(a, b record) int {
	if a.origin != b.origin || a.transID == b.transID {
		if b.callID == -1 {
			return -1
		}
		return 1
	}
	if a.transID >= 0 && a.transID < b.transID || b.transID == -1 {
		return -1
	}
	return 1
}
