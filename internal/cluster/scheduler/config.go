package scheduler

import (
	"time"

	"holdfast/internal/cluster/cib"
)

// quorumPolicy is no-quorum-policy.
type quorumPolicy int

const (
	quorumStop quorumPolicy = iota
	quorumIgnore
	quorumFreeze
	quorumSuicide
	quorumDemote
)

// config are the cluster properties.
type config struct {
	stonith           bool
	stonithAction     string
	stonithTimeout    time.Duration
	clusterDelay      time.Duration
	symmetric         bool
	maintenance       bool
	stopAll           bool
	stopOrphans       bool
	stopOrphanActions bool
	removeAfterStop   bool
	startupProbes     bool
	startupFencing    bool
	startFatal        bool
	concurrentFencing bool
	haveWatchdog      bool
	health            map[string]int // what colours of health are worth; nil without a strategy
	healthBase        int
	shutdownLock      bool
	lockLimit         time.Duration // 0 for none
	haveDevice        bool          // a fencing resource is configured
	batchLimit        int
	policy            quorumPolicy
	strategy          string
	priorityDelay     time.Duration // priority-fencing-delay
	unfencing         bool          // some fencing device demands that nodes be unfenced
	clusterName       string
}

// readConfig reads the cluster properties, with Pacemaker's defaults.
func (c *cluster) readConfig() {
	p := map[string]string{}
	x := ruleContext{now: c.now}
	c.nvPairs(p, "cluster_property_set", x, c.doc.Root.Child("configuration").Child("crm_config"))
	c.conf = config{
		stonith:           boolOr(p["stonith-enabled"], true),
		stonithAction:     p["stonith-action"],
		stonithTimeout:    span(p["stonith-timeout"], time.Minute),
		clusterDelay:      span(p["cluster-delay"], time.Minute),
		symmetric:         boolOr(p["symmetric-cluster"], true),
		maintenance:       boolOr(p["maintenance-mode"], false),
		stopAll:           boolOr(p["stop-all-resources"], false),
		stopOrphans:       boolOr(p["stop-orphan-resources"], true),
		stopOrphanActions: boolOr(p["stop-orphan-actions"], true),
		removeAfterStop:   boolOr(p["remove-after-stop"], false),
		startupProbes:     boolOr(p["enable-startup-probes"], true),
		startupFencing:    boolOr(p["startup-fencing"], true),
		startFatal:        boolOr(p["start-failure-is-fatal"], true),
		concurrentFencing: boolOr(p["concurrent-fencing"], true),
		haveWatchdog:      boolOr(p["have-watchdog"], false),
		batchLimit:        intOr(p["batch-limit"], 0),
		strategy:          p["placement-strategy"],
		priorityDelay:     span(p["priority-fencing-delay"], 0),
		clusterName:       p["cluster-name"],
		health:            healthScores(p),
		shutdownLock:      boolOr(p["shutdown-lock"], false),
		lockLimit:         span(p["shutdown-lock-limit"], 0),
	}
	if p["node-health-strategy"] == "progressive" {
		c.conf.healthBase = scoreOr(p["node-health-base"], 0)
	}
	switch c.conf.stonithAction {
	case "":
		c.conf.stonithAction = "reboot"
	case "poweroff":
		c.conf.stonithAction = "off"
	}
	c.conf.policy = c.quorumPolicy(p["no-quorum-policy"])
}

func (c *cluster) quorumPolicy(s string) quorumPolicy {
	switch s {
	case "ignore":
		return quorumIgnore
	case "freeze":
		return quorumFreeze
	case "demote":
		return quorumDemote
	case "suicide":
		if c.conf.stonith && !c.quorum && !boolOr(c.doc.Root.Get("no-quorum-panic"), false) {
			// It never had quorum: what runs elsewhere is nothing to panic about.
			return quorumStop
		}
		if c.conf.stonith {
			return quorumSuicide
		}
		c.warn("no-quorum-policy=suicide needs fencing (stonith-enabled=true); acting as stop")
	case "", "stop":
	default:
		c.warn("no-quorum-policy=" + s + " is not known; acting as stop")
	}
	return quorumStop
}

func (c *cluster) warn(text string) { c.warnings = append(c.warnings, text) }

// span reads a time span, or gives the default when it is missing or bad.
func span(s string, def time.Duration) time.Duration {
	if s == "" {
		return def
	}
	d, err := cib.ParseInterval(s)
	if err != nil {
		return def
	}
	return d
}
