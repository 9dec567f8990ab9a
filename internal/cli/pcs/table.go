package pcs

import "slices"

// verb is one entry of the grammar.
type verb struct {
	name  string // its words
	usage string // what may follow them
	run   func(*call) error
	// file: works on the file of -f.
	file bool
	// alone: matches only when no word follows, so that a mistyped second word is not taken for an argument.
	alone bool
	// options are those it takes beside the global ones.
	options []string
}

func (v *verb) allows(option string) bool { return slices.Contains(v.options, option) }

// lookup finds a verb by its words; nil when there is none.
func lookup(table []verb, name string) *verb {
	i := slices.IndexFunc(table, func(v verb) bool { return v.name == name })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// verbs is the whole grammar.
func verbs() []verb {
	return slices.Concat(clusterVerbs(), cibVerbs(), statusVerbs(), propertyVerbs(), resourceVerbs(), operationVerbs(), moveVerbs(),
		groupVerbs(), constraintVerbs(), nodeVerbs(), memberVerbs())
}

func clusterVerbs() []verb {
	nodes := []string{"all", "wait"}
	login := []string{"u", "p", "local"}
	return []verb{
		{name: "cluster auth", usage: "NODE... [-u USERNAME] [-p PASSWORD]", run: (*call).auth, options: login},
		{name: "host auth", usage: "(NODE [addr=ADDRESS])... [-u USERNAME] [-p PASSWORD]", run: (*call).auth, options: login},
		{name: "cluster setup", usage: "[--name] NAME NODE NODE... [totem token=MILLISECONDS] [--start] [--force]", run: (*call).setup,
			options: []string{"name", "start", "enable", "token", "wait"}},
		{name: "cluster start", usage: "[--all | NODE...] [--wait[=SECONDS]]", run: (*call).start, options: nodes},
		{name: "cluster stop", usage: "[--all | NODE...]", run: (*call).stop, options: nodes},
		{name: "cluster destroy", usage: "[--all]", run: (*call).destroy, options: nodes},
		{name: "cluster enable", usage: "", run: (*call).enableAtBoot, options: nodes},
		{name: "cluster disable", usage: "", run: (*call).enableAtBoot, options: nodes},
	}
}

func cibVerbs() []verb {
	return []verb{
		{name: "cluster cib", usage: "[FILE] [--config]", run: (*call).cibShow, file: true, options: []string{"config"}},
		{name: "cluster cib-push", usage: "FILE [--config | scope=configuration | diff-against=ORIGINAL] [--wait[=SECONDS]]", run: (*call).cibPush,
			options: []string{"config", "wait"}},
		{name: "cluster cib-upgrade", usage: "", run: (*call).cibUpgrade, file: true},
		{name: "cluster verify", usage: "[--full]", run: (*call).verify, file: true, options: []string{"full"}},
	}
}

func statusVerbs() []verb {
	opts := []string{"full", "hide-inactive", "output-format"}
	return []verb{
		{name: "status", run: (*call).status, alone: true, file: true, options: opts, usage: "[--full] [--hide-inactive] [--output-format text|json]"},
		{name: "status status", run: (*call).status, file: true, options: opts},
		{name: "status cluster", run: (*call).statusCluster, options: opts},
		{name: "cluster status", run: (*call).statusCluster, options: opts},
		{name: "status resources", usage: "[RESOURCE]", run: (*call).resourceStatus, file: true, options: opts},
		{name: "status groups", run: (*call).groupList, file: true},
		{name: "status nodes", run: (*call).statusNodes, file: true, options: opts},
		{name: "status corosync", run: (*call).statusCorosync},
		{name: "status quorum", run: (*call).quorumStatus, options: opts},
		{name: "quorum status", run: (*call).quorumStatus, options: opts},
		{name: "quorum", run: (*call).quorumStatus, alone: true, options: opts},
		{name: "quorum config", run: (*call).quorumStatus, options: opts},
		{name: "status volumes", run: (*call).statusVolumes, options: opts},
		{name: "status xml", run: (*call).statusXML, file: true},
		{name: "config", run: (*call).config, alone: true, file: true},
		{name: "config show", run: (*call).config, file: true},
	}
}

func propertyVerbs() []verb {
	opts := []string{"all", "defaults", "full", "output-format"}
	list := "[PROPERTY...] [--all | --defaults]"
	return []verb{
		{name: "property", run: (*call).propertyShow, alone: true, file: true, options: opts, usage: list},
		{name: "property config", run: (*call).propertyShow, file: true, options: opts, usage: list},
		{name: "property show", run: (*call).propertyShow, file: true, options: opts, usage: list},
		{name: "property list", run: (*call).propertyShow, file: true, options: opts, usage: list},
		{name: "property set", usage: "PROPERTY=[VALUE]... [--force]", run: (*call).propertySet, file: true, options: []string{"node"}},
		{name: "property unset", usage: "PROPERTY... [--force]", run: (*call).propertyUnset, file: true},
		{name: "property defaults", run: (*call).propertyDefaults, options: opts},
		{name: "property describe", usage: "[PROPERTY...]", run: (*call).propertyDescribe, options: opts},
	}
}

func resourceVerbs() []verb {
	create := []string{"group", "before", "after", "disabled", "no-default-ops", "wait", "promoted", "agent-validation"}
	wait := []string{"wait"}
	show := []string{"full", "hide-inactive", "output-format", "all"}
	return []verb{
		{name: "resource", run: (*call).resourceStatus, alone: true, file: true, options: show, usage: "[status|create|...]"},
		{name: "resource status", usage: "[RESOURCE...]", run: (*call).resourceStatus, file: true, options: show},
		{name: "resource show", usage: "[RESOURCE...] [--full]", run: (*call).resourceShow, file: true, options: show},
		{name: "resource config", usage: "[RESOURCE...]", run: (*call).resourceConfig, file: true, options: show},
		{name: "resource list", usage: "[FILTER]", run: (*call).agentList, options: []string{"nodesc"}},
		{name: "resource agents", usage: "[ocf[:PROVIDER]]", run: (*call).agentList},
		{name: "resource describe", usage: "[ocf:PROVIDER:]TYPE [--full]", run: (*call).agentDescribe, options: []string{"full"}},
		{name: "resource create", usage: createUsage, run: (*call).create, file: true, options: create},
		{name: "stonith create", usage: "NAME TYPE [OPTION=VALUE...] [op ...] [meta ...]", run: (*call).createStonith, file: true, options: create},
		{name: "resource delete", usage: "RESOURCE... [--force]", run: (*call).resourceDelete, file: true, options: []string{"no-stop", "future"}},
		{name: "resource remove", usage: "RESOURCE... [--force]", run: (*call).resourceDelete, file: true, options: []string{"no-stop", "future"}},
		{name: "stonith delete", usage: "RESOURCE...", run: (*call).resourceDelete, file: true, options: []string{"no-stop", "future"}},
		{name: "resource enable", usage: "RESOURCE... [--wait[=SECONDS]]", run: (*call).resourceEnable, file: true, options: wait},
		{name: "resource disable", usage: "RESOURCE... [--wait[=SECONDS]]", run: (*call).resourceDisable, file: true, options: wait},
		{name: "resource manage", usage: "RESOURCE... [--monitor]", run: (*call).resourceManage, file: true, options: []string{"monitor"}},
		{name: "resource unmanage", usage: "RESOURCE... [--monitor]", run: (*call).resourceUnmanage, file: true, options: []string{"monitor"}},
		{name: "resource meta", usage: "RESOURCE NAME=[VALUE]... [--wait[=SECONDS]]", run: (*call).resourceMeta, file: true, options: wait},
		{name: "resource update", usage: "RESOURCE [OPTION=[VALUE]...] [op ACTION [OPTION=VALUE...]...] [meta NAME=[VALUE]...]",
			run: (*call).resourceUpdate, file: true, options: wait},
		{name: "resource cleanup", usage: "[RESOURCE] [node=NODE]", run: (*call).cleanup, options: []string{"strict"}},
		{name: "resource refresh", usage: "[RESOURCE] [node=NODE]", run: (*call).cleanup, options: []string{"strict", "full"}},
		{name: "resource failcount", usage: "[show [RESOURCE] [node=NODE]]", run: (*call).failcount, file: true, options: []string{"full"}},
		{name: "resource failcount show", usage: "[RESOURCE] [node=NODE]", run: (*call).failcount, file: true, options: []string{"full"}},
		{name: "resource failcount reset", usage: "[RESOURCE] [NODE]", run: (*call).cleanup},
	}
}

const createUsage = "NAME [ocf:PROVIDER:]TYPE [OPTION=VALUE...] [op ACTION OPTION=VALUE...]... [meta NAME=VALUE...]\n" +
	"    [clone [ID] [NAME=VALUE...] | promotable [ID] [NAME=VALUE...] | --group GROUP [--before R | --after R]]\n" +
	"    [--disabled] [--no-default-ops] [--wait[=SECONDS]]"

func operationVerbs() []verb {
	return []verb{
		{name: "resource op add", usage: "RESOURCE ACTION [OPTION=VALUE...]", run: (*call).opAdd, file: true},
		{name: "resource op remove", usage: "RESOURCE ACTION [OPTION=VALUE...] | OPERATION-ID", run: (*call).opRemove, file: true},
		{name: "resource op delete", usage: "RESOURCE ACTION [OPTION=VALUE...] | OPERATION-ID", run: (*call).opRemove, file: true},
		{name: "resource defaults", usage: "[NAME=[VALUE]...]", run: (*call).resourceDefaults, file: true},
		{name: "resource defaults config", run: (*call).resourceDefaults, file: true},
		{name: "resource defaults update", usage: "NAME=[VALUE]...", run: (*call).resourceDefaults, file: true},
		{name: "resource op defaults", usage: "[NAME=[VALUE]...]", run: (*call).opDefaults, file: true},
		{name: "resource op defaults config", run: (*call).opDefaults, file: true},
		{name: "resource op defaults update", usage: "NAME=[VALUE]...", run: (*call).opDefaults, file: true},
	}
}

func moveVerbs() []verb {
	opts := []string{"promoted", "wait", "strict", "autodelete", "expired"}
	return []verb{
		{name: "resource move", usage: "RESOURCE [NODE] [--promoted] [--wait[=SECONDS]]", run: (*call).move, options: opts},
		{name: "resource move-with-constraint", usage: "RESOURCE [NODE] [--promoted]", run: (*call).moveKeep, file: true, options: opts},
		{name: "resource ban", usage: "RESOURCE [NODE] [--promoted]", run: (*call).ban, file: true, options: opts},
		{name: "resource clear", usage: "RESOURCE [NODE] [--promoted]", run: (*call).clear, file: true, options: opts},
	}
}

func groupVerbs() []verb {
	wait := []string{"wait"}
	members := []string{"wait", "before", "after"}
	return []verb{
		{name: "resource clone", usage: "RESOURCE [CLONE] [NAME=VALUE...]", run: (*call).clone, file: true, options: wait},
		{name: "resource promotable", usage: "RESOURCE [CLONE] [NAME=VALUE...]", run: (*call).promotable, file: true, options: wait},
		{name: "resource master", usage: "CLONE RESOURCE [NAME=VALUE...]", run: (*call).master, file: true, options: wait},
		{name: "resource unclone", usage: "CLONE|RESOURCE", run: (*call).unclone, file: true, options: wait},
		{name: "resource group add", usage: "GROUP RESOURCE... [--before R | --after R]", run: (*call).groupAdd, file: true, options: members},
		{name: "resource group remove", usage: "GROUP [RESOURCE...]", run: (*call).groupRemove, file: true, options: wait},
		{name: "resource group delete", usage: "GROUP [RESOURCE...]", run: (*call).groupRemove, file: true, options: wait},
		{name: "resource ungroup", usage: "GROUP [RESOURCE...]", run: (*call).groupRemove, file: true, options: wait},
		{name: "resource group list", run: (*call).groupList, file: true},
	}
}

func constraintVerbs() []verb {
	show := []string{"full", "all"}
	return []verb{
		{name: "constraint", run: (*call).constraints, alone: true, file: true, options: show, usage: "[--full]"},
		{name: "constraint show", run: (*call).constraints, file: true, options: show, usage: "[--full]"},
		{name: "constraint list", run: (*call).constraints, file: true, options: show, usage: "[--full]"},
		{name: "constraint config", run: (*call).constraints, file: true, options: show, usage: "[--full]"},
		{name: "constraint location", usage: "RESOURCE prefers|avoids NODE[=SCORE]... | RESOURCE rule ... | add ID RESOURCE NODE SCORE | remove ID...",
			run: (*call).location, file: true, options: show},
		{name: "constraint location add", usage: "ID RESOURCE NODE SCORE [resource-discovery=OPTION]", run: (*call).locationAdd, file: true},
		{name: "constraint location remove", usage: "ID...", run: (*call).constraintRemove, file: true},
		{name: "constraint location delete", usage: "ID...", run: (*call).constraintRemove, file: true},
		{name: "constraint colocation", usage: "[--full] | add ... | set ... | remove ...", run: (*call).colocations, alone: true, file: true, options: show},
		{name: "constraint colocation config", run: (*call).colocations, file: true, options: show},
		{name: "constraint colocation show", run: (*call).colocations, file: true, options: show},
		{name: "constraint colocation add", usage: "[ROLE] RESOURCE with [ROLE] RESOURCE [SCORE] [OPTION=VALUE...] [id=ID]",
			run: (*call).colocationAdd, file: true},
		{name: "constraint colocation set", usage: setUsage, run: (*call).colocationSet, file: true},
		{name: "constraint colocation remove", usage: "RESOURCE RESOURCE", run: (*call).colocationRemove, file: true},
		{name: "constraint colocation delete", usage: "RESOURCE RESOURCE", run: (*call).colocationRemove, file: true},
		{name: "constraint order", usage: "[ACTION] RESOURCE then [ACTION] RESOURCE [OPTION=VALUE...]", run: (*call).order, file: true, options: show},
		{name: "constraint order add", usage: "[ACTION] RESOURCE then [ACTION] RESOURCE [OPTION=VALUE...]", run: (*call).order, file: true},
		{name: "constraint order set", usage: setUsage, run: (*call).orderSet, file: true},
		{name: "constraint order remove", usage: "RESOURCE...", run: (*call).orderRemove, file: true},
		{name: "constraint order delete", usage: "RESOURCE...", run: (*call).orderRemove, file: true},
		{name: "constraint remove", usage: "ID...", run: (*call).constraintRemove, file: true},
		{name: "constraint delete", usage: "ID...", run: (*call).constraintRemove, file: true},
		{name: "constraint ref", usage: "RESOURCE...", run: (*call).constraintRef, file: true},
	}
}

const setUsage = "RESOURCE... [OPTION=VALUE...] [set RESOURCE... [OPTION=VALUE...]]... [setoptions OPTION=VALUE...]"

func nodeVerbs() []verb {
	opts := []string{"all", "wait"}
	return []verb{
		{name: "node standby", usage: "[--all | NODE...]", run: (*call).standby, file: true, options: opts},
		{name: "node unstandby", usage: "[--all | NODE...]", run: (*call).unstandby, file: true, options: opts},
		{name: "cluster standby", usage: "[--all | NODE...]", run: (*call).standby, file: true, options: opts},
		{name: "cluster unstandby", usage: "[--all | NODE...]", run: (*call).unstandby, file: true, options: opts},
		{name: "node maintenance", usage: "[--all | NODE...]", run: (*call).maintenance, file: true, options: opts},
		{name: "node unmaintenance", usage: "[--all | NODE...]", run: (*call).unmaintenance, file: true, options: opts},
		{name: "node attribute", usage: "[NODE [NAME=[VALUE]...]]", run: (*call).nodeAttribute, file: true},
	}
}

func memberVerbs() []verb {
	return []verb{
		{name: "witness add", usage: "NODE", run: (*call).witnessAdd},
		{name: "witness remove", usage: "NODE", run: (*call).memberRemove},
		{name: "member add", usage: "NODE", run: (*call).memberAdd},
		{name: "member remove", usage: "NODE", run: (*call).memberRemove},
		{name: "member lead", usage: "NODE | witness", run: (*call).memberLead},
		{name: "member rejoin", usage: "NODE", run: (*call).memberRejoin},
		{name: "recover", usage: "--survivor NODE [--accept-loss]", run: (*call).recover, options: []string{"survivor", "accept-loss"}},
		{name: "member", run: (*call).memberList, alone: true},
		{name: "member list", run: (*call).memberList},
	}
}
