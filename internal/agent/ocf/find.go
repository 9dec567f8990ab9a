package ocf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/internal/agent"
	"holdfast/internal/agent/volume"
	"holdfast/internal/paths"
)

// List names every ocf agent of root, and the built-in ones, sorted.
func List(root paths.Root) ([]agent.Spec, error) {
	dir := filepath.Join(root.OCF(), "resource.d")
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		return nil, fmt.Errorf("list the agents below %s: %w", dir, err)
	}
	specs := []agent.Spec{volume.Spec()}
	for _, f := range files {
		spec := agent.Spec{Class: "ocf", Provider: filepath.Base(filepath.Dir(f)), Type: filepath.Base(f)}
		if !strings.HasPrefix(spec.Type, ".") && spec != volume.Spec() && runnable(f) == nil {
			specs = append(specs, spec)
		}
	}
	slices.SortFunc(specs, func(a, b agent.Spec) int { return strings.Compare(a.String(), b.String()) })
	return specs, nil
}

// Find turns what a user wrote into an agent's full name: "Filesystem", "heartbeat:Filesystem",
// "ocf:heartbeat:Filesystem". A name without a class is looked for among the ocf agents (upper and lower case alike)
// and must match one only. Names of other classes (systemd:nginx) are returned as they are.
func Find(root paths.Root, name string) (agent.Spec, error) {
	parts := strings.Split(name, ":")
	switch {
	case len(parts) == 3 && parts[0] == "ocf":
		return exact(root, agent.Spec{Class: "ocf", Provider: parts[1], Type: parts[2]})
	case len(parts) == 2 && slices.Contains([]string{"systemd", "lsb", "service", "stonith"}, parts[0]):
		return agent.Spec{Class: parts[0], Type: parts[1]}, nil
	case len(parts) == 2:
		return exact(root, agent.Spec{Class: "ocf", Provider: parts[0], Type: parts[1]})
	case len(parts) == 1 && name != "":
		return search(root, name)
	}
	return agent.Spec{}, fmt.Errorf("agent name %q is not valid; write TYPE, ocf:PROVIDER:TYPE or CLASS:TYPE", name)
}

func exact(root paths.Root, spec agent.Spec) (agent.Spec, error) {
	if spec == volume.Spec() {
		return spec, nil
	}
	if spec.Provider == "" || spec.Type == "" || strings.ContainsAny(spec.Provider+spec.Type, "/") || strings.HasPrefix(spec.Type, ".") {
		return agent.Spec{}, fmt.Errorf("agent name %q is not valid; write ocf:PROVIDER:TYPE", spec)
	}
	if _, err := os.Stat(Path(root, spec)); err != nil {
		return agent.Spec{}, fmt.Errorf("agent '%s' is not installed or does not provide valid metadata: %s does not exist", spec, Path(root, spec))
	}
	return spec, nil
}

func search(root paths.Root, name string) (agent.Spec, error) {
	all, err := List(root)
	if err != nil {
		return agent.Spec{}, err
	}
	var found []agent.Spec
	for _, spec := range all {
		if strings.EqualFold(spec.Type, name) {
			found = append(found, spec)
		}
	}
	switch len(found) {
	case 0:
		return agent.Spec{}, fmt.Errorf("Unable to find agent '%s', try specifying its full name", name) //nolint:staticcheck // pcs's own words
	case 1:
		return found[0], nil
	}
	var names []string
	for _, spec := range found {
		names = append(names, "'"+spec.String()+"'")
	}
	return agent.Spec{}, fmt.Errorf("Multiple agents match '%s', please specify full name: %s", name, strings.Join(names, ", ")) //nolint:staticcheck // pcs's own words
}
