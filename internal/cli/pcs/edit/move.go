package edit

import (
	"fmt"
	"strings"

	"holdfast/internal/cluster/cib"
)

// Prefer makes a resource run (or be promoted) on a node, with the constraint that `resource clear` removes.
func (e *Editor) Prefer(rsc, node string, promoted bool) (id string, err error) {
	return e.cliConstraint("cli-prefer-"+rsc, rsc, node, "INFINITY", promoted)
}

// Ban keeps a resource (or its promotion) off a node, with the constraint that `resource clear` removes.
func (e *Editor) Ban(rsc, node string, promoted bool) (id string, err error) {
	id, err = e.cliConstraint("cli-ban-"+rsc+"-on-"+node, rsc, node, "-INFINITY", promoted)
	if err != nil {
		return "", err
	}
	what := "running"
	if promoted {
		what = "being promoted"
	}
	e.warnf("Creating location constraint '%s' with a score of -INFINITY for resource %s on %s.\n"+
		"\tThis will prevent %s from %s on %s until the constraint is removed\n"+
		"\tThis will be the case even if %s is the last node in the cluster", id, rsc, node, rsc, what, node, node)
	return id, nil
}

func (e *Editor) cliConstraint(id, rsc, node, score string, promoted bool) (string, error) {
	r, err := e.Resource(rsc)
	if err != nil {
		return "", err
	}
	if top := e.Outermost(r); top != r && IsClone(top) {
		return "", fmt.Errorf("%s is inside the clone %s: name the clone", rsc, top.ID())
	}
	if e.Doc.Node(node) == nil {
		return "", fmt.Errorf("node '%s' does not appear to exist in configuration%s", node, e.knownNodes())
	}
	role := "Started"
	if promoted {
		if v, _ := cib.ParseBool(cib.Meta(r, "promotable")); !v && r.Name != "master" {
			return "", fmt.Errorf("when specifying '--promoted' you must use the promotable clone id; %s is none", rsc)
		}
		role = "Promoted"
	}
	if old := e.Doc.Constraints().ChildWith("rsc_location", "id", id); old != nil {
		e.Doc.Constraints().Remove(old)
	}
	e.Doc.Constraints().Append(cib.NewElement("rsc_location", "id", id, "rsc", rsc, "role", role, "node", node, "score", score))
	return id, nil
}

// Clear removes the constraints Prefer and Ban made for a resource: for one node, or for all when node is empty. It
// returns their ids.
func (e *Editor) Clear(rsc, node string, promotedOnly bool) ([]string, error) {
	if _, err := e.Resource(rsc); err != nil {
		return nil, err
	}
	var ids []string
	e.removeWhere("rsc_location", func(c *cib.Element) bool {
		ours := c.ID() == "cli-prefer-"+rsc || strings.HasPrefix(c.ID(), "cli-ban-"+rsc+"-on-")
		match := ours && (node == "" || c.Get("node") == node) && (!promotedOnly || c.Get("role") == "Promoted")
		if match {
			ids = append(ids, c.ID())
		}
		return match
	})
	return ids, nil
}
