package edit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Property is a cluster property Pacemaker knows (Pacemaker Explained, "Cluster Options").
type Property struct {
	Name, Default string
	// Kind is boolean, integer, score, time, enum or string.
	Kind   string
	Values []string // of an enum
	About  string
}

// Properties lists the known cluster properties, sorted by name.
func Properties() []Property {
	return []Property{
		{"batch-limit", "0", "integer", nil, "operations the cluster runs at once; 0: decided by load"},
		{"cluster-delay", "60s", "time", nil, "longest time for an operation to travel to a node and back"},
		{"cluster-infrastructure", "", "string", nil, "messaging layer in use (informational)"},
		{"cluster-ipc-limit", "500", "integer", nil, "messages a client may be behind"},
		{"cluster-name", "", "string", nil, "name of the cluster"},
		{"cluster-recheck-interval", "15min", "time", nil, "how often time-based rules are looked at again"},
		{"concurrent-fencing", "true", "boolean", nil, "whether several nodes may be fenced at once"},
		{"dc-deadtime", "20s", "time", nil, "how long a starting node waits for others"},
		{"dc-version", "", "string", nil, "version of the coordinating node (informational)"},
		{"election-timeout", "2min", "time", nil, "longest election"},
		{"enable-acl", "false", "boolean", nil, "whether access control lists apply"},
		{"enable-startup-probes", "true", "boolean", nil, "whether starting nodes are looked at for running resources"},
		{"fence-reaction", "stop", "enum", []string{"stop", "panic"}, "what a node does that learns of its own fencing"},
		{"have-watchdog", "false", "boolean", nil, "whether a watchdog is in use (informational)"},
		{"join-finalization-timeout", "30min", "time", nil, "longest end of a join"},
		{"join-integration-timeout", "3min", "time", nil, "longest join"},
		{"load-threshold", "80%", "string", nil, "load above which fewer operations are run at once"},
		{"maintenance-mode", "false", "boolean", nil, "whether the cluster leaves all resources alone"},
		{"migration-limit", "-1", "integer", nil, "live migrations a node takes part in at once"},
		{"no-quorum-policy", "stop", "enum", []string{"stop", "freeze", "ignore", "demote", "suicide"}, "what to do without quorum"},
		{"node-action-limit", "0", "integer", nil, "operations a node runs at once; 0: twice its processors"},
		{"node-health-base", "0", "score", nil, "health score of a healthy node"},
		{"node-health-green", "0", "score", nil, "score of green"},
		{"node-health-red", "-INFINITY", "score", nil, "score of red"},
		{"node-health-strategy", "none", "enum", []string{"none", "migrate-on-red", "only-green", "progressive", "custom"}, "how node health attributes count"},
		{"node-health-yellow", "0", "score", nil, "score of yellow"},
		{"pe-error-series-max", "-1", "integer", nil, "scheduler inputs with errors to keep"},
		{"pe-input-series-max", "4000", "integer", nil, "scheduler inputs to keep"},
		{"pe-warn-series-max", "5000", "integer", nil, "scheduler inputs with warnings to keep"},
		{"placement-strategy", "default", "enum", []string{"default", "utilization", "minimal", "balanced"}, "how utilization counts"},
		{"priority-fencing-delay", "0", "time", nil, "delay of fencing against the more important side"},
		{"remove-after-stop", "false", "boolean", nil, "whether stopped resources are forgotten"},
		{"shutdown-escalation", "20min", "time", nil, "longest clean stop of a node"},
		{"shutdown-lock", "false", "boolean", nil, "whether resources wait for a node that was stopped cleanly"},
		{"shutdown-lock-limit", "0", "time", nil, "longest such wait"},
		{"start-failure-is-fatal", "true", "boolean", nil, "whether one failed start keeps a resource off a node"},
		{"startup-fencing", "true", "boolean", nil, "whether nodes never seen are fenced at start"},
		{"stonith-action", "reboot", "enum", []string{"reboot", "off", "poweroff"}, "what fencing does"},
		{"stonith-enabled", "true", "boolean", nil, "whether lost nodes are fenced by a device"},
		{"stonith-max-attempts", "10", "integer", nil, "fencing attempts before giving up"},
		{"stonith-timeout", "60s", "time", nil, "longest fencing"},
		{"stonith-watchdog-timeout", "0", "string", nil, "after this time a lost node with a watchdog counts as fenced"},
		{"stop-all-resources", "false", "boolean", nil, "whether everything is to be stopped"},
		{"stop-orphan-actions", "true", "boolean", nil, "whether operations removed from the configuration are cancelled"},
		{"stop-orphan-resources", "true", "boolean", nil, "whether resources removed from the configuration are stopped"},
		{"symmetric-cluster", "true", "boolean", nil, "whether resources may run anywhere by default"},
		{"transition-delay", "0s", "time", nil, "wait before acting on a change"},
	}
}

// PropertyName gives the name a property has in the CIB: fencing-enabled is stonith-enabled there.
func PropertyName(name string) string {
	if rest, ok := strings.CutPrefix(name, "fencing-"); ok {
		return "stonith-" + rest
	}
	return name
}

// readOnly are properties the cluster writes itself.
func readOnly(name string) bool {
	return slices.Contains([]string{"cluster-infrastructure", "cluster-name", "dc-version", "have-watchdog"}, name)
}

// SetProperties sets cluster properties; empty values remove.
func (e *Editor) SetProperties(pairs []Pair) error {
	for _, p := range pairs {
		name := PropertyName(p.Name)
		if err := e.checkProperty(name, p.Value); err != nil {
			return err
		}
		e.Doc.SetProperty(name, p.Value)
	}
	return nil
}

func (e *Editor) checkProperty(name, value string) error {
	all := Properties()
	i := slices.IndexFunc(all, func(p Property) bool { return p.Name == name })
	if i < 0 {
		var known []string
		for _, p := range all {
			if !readOnly(p.Name) {
				known = append(known, p.Name)
			}
		}
		return e.problem("invalid cluster property option '%s', allowed options are: %s", name, quoted(known))
	}
	if readOnly(name) {
		return e.problem("the cluster property '%s' is written by the cluster itself", name)
	}
	if value == "" {
		return nil
	}
	if want := all[i].fault(value); want != "" {
		return e.problem("'%s' is not a valid %s value, use %s", value, name, want)
	}
	return nil
}

// fault says what a value should be, or nothing when it is good.
func (p Property) fault(value string) string {
	ok, want := true, ""
	switch p.Kind {
	case "boolean":
		_, ok = cib.ParseBool(value)
		want = "a pacemaker boolean value: '0', '1', 'false', 'n', 'no', 'off', 'on', 'true', 'y', 'yes'"
	case "integer":
		_, err := strconv.Atoi(value)
		ok, want = err == nil, "an integer"
	case "score":
		_, ok = cib.ParseScore(value)
		want = "an integer or INFINITY or -INFINITY"
	case "time":
		_, err := cib.ParseInterval(value)
		ok, want = err == nil, "time interval (e.g. 1, 2s, 3m, 4h, ...)"
	case "enum":
		ok, want = slices.Contains(p.Values, value), quoted(p.Values)
	}
	if ok {
		return ""
	}
	return want
}

// UnsetProperties removes cluster properties.
func (e *Editor) UnsetProperties(names []string) error {
	for _, n := range names {
		name := PropertyName(n)
		if e.Doc.Property(name) == "" {
			if err := e.problem("cannot remove property '%s', it is not present in property set 'cib-bootstrap-options'", n); err != nil {
				return err
			}
			continue
		}
		if readOnly(name) {
			return fmt.Errorf("the cluster property '%s' is written by the cluster itself", n)
		}
		e.Doc.SetProperty(name, "")
	}
	return nil
}
