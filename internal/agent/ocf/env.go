package ocf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/agent"
	"holdfast/internal/agent/process"
	"holdfast/internal/paths"
)

// runDir is HA_RSCTMP, where agents keep small files that a boot removes.
func runDir(root paths.Root) string {
	return filepath.Join(filepath.Dir(root.Run()), "resource-agents")
}

// environment is everything an agent gets. It begins empty, so that an operation means the same whoever started the
// daemon; only locale and time zone are passed on.
func environment(root paths.Root, op agent.Operation) []string {
	env := map[string]string{
		"PATH":                        process.SearchPath,
		"HOME":                        "/root",
		"OCF_ROOT":                    root.OCF(),
		"OCF_RA_VERSION_MAJOR":        "1",
		"OCF_RA_VERSION_MINOR":        "1",
		"OCF_RESOURCE_INSTANCE":       op.Resource,
		"OCF_RESOURCE_TYPE":           op.Spec.Type,
		"OCF_RESOURCE_PROVIDER":       op.Spec.Provider,
		"OCF_EXIT_REASON_PREFIX":      exitReasonPrefix,
		"OCF_RESKEY_crm_feature_set":  FeatureSet,
		"OCF_RESKEY_CRM_meta_name":    op.Action,
		"OCF_RESKEY_CRM_meta_timeout": milliseconds(op.Timeout),
	}
	if op.Interval > 0 {
		env["OCF_RESKEY_CRM_meta_interval"] = milliseconds(op.Interval)
	}
	addHeartbeat(env, root)
	for name, value := range op.Params {
		env["OCF_RESKEY_"+name] = value
	}
	if level, ok := op.Params["OCF_CHECK_LEVEL"]; ok {
		env["OCF_CHECK_LEVEL"] = level
	}
	for name, value := range op.Meta {
		env["OCF_RESKEY_"+metaName(name)] = value
	}
	return list(env)
}

// addHeartbeat sets the names agents still use from the days of Heartbeat: log to standard error, which we keep.
func addHeartbeat(env map[string]string, root paths.Root) {
	env["HA_RSCTMP"] = runDir(root)
	env["HA_LOGFACILITY"] = "none"
	env["HA_debug"] = "0"
	env["HA_LOGD"] = "no"
	for _, name := range []string{"LANG", "LC_ALL", "LC_CTYPE", "TZ"} {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
}

// metaName gives a meta attribute or notify variable the name agents look for, whether or not it has its prefix
// already. Shell variables have no dashes.
func metaName(name string) string {
	if !strings.HasPrefix(name, "CRM_meta_") {
		name = "CRM_meta_" + name
	}
	return strings.ReplaceAll(name, "-", "_")
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func list(env map[string]string) []string {
	out := make([]string, 0, len(env))
	for name, value := range env {
		if strings.ContainsRune(name, '=') || strings.ContainsRune(name+value, 0) {
			continue // cannot be passed in an environment
		}
		out = append(out, fmt.Sprintf("%s=%s", name, value))
	}
	slices.Sort(out)
	return out
}
