package volume

import (
	"holdfast/internal/clock"
	"holdfast/internal/planted"
)

// leaseLive tells whether the node's lease runs. Without a page, or with a guard that is not armed, there is none.
func (e *engine) leaseLive() bool {
	if e.lease == nil && e.cfg.Lease != nil {
		l, err := e.cfg.Lease()
		if err != nil {
			return false
		}
		e.lease = l
	}
	if e.lease == nil {
		return false
	}
	deadline := e.lease.Deadline()
	if planted.VolumeIgnoresLease {
		return true
	}
	return deadline != clock.Boottime(0) && e.now() < deadline
}

// checkLease fails a bound Primary whose lease is over, also when nothing is being completed.
func (e *engine) checkLease() {
	if e.machine.Bound() && e.machine.IsPrimary() && !e.leaseLive() {
		e.machine.LeaseOver(e.env())
	}
}
