package volume

// resyncCeiling is the most a resync to this node moves, in bytes per second; 0 if there is no bound. What an operator asked for
// counts before the configuration: resync-rate where c-plan-ahead is 0 (DRBD's fixed rate), else c-max-rate, if either is set.
func (e *engine) resyncCeiling() int64 {
	if e.rate > 0 {
		return e.rate
	}
	o := e.cfg.Resource.Disk(e.volume)
	if _, fixed := o.Get("resync-rate"); fixed && o.Number("c-plan-ahead", 20) == 0 {
		return o.Bytes("resync-rate", 0)
	}
	return o.Bytes("c-max-rate", 0)
}

// setRate applies the ceiling to the resync under way.
func (e *engine) setRate() {
	if e.sync.target != nil {
		e.sync.target.SetRate(e.env().Now, e.resyncCeiling())
		e.pumpTarget()
		e.statusDue = true
	}
}
