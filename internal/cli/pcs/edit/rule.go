package edit

import (
	"fmt"
	"slices"

	"holdfast/internal/cluster/cib"
)

// AddRule adds a location constraint with a rule. options are score, score-attribute, role, id (the rule's),
// constraint-id, resource-discovery; words are the expression: ATTRIBUTE OPERATION VALUE or defined|not_defined
// ATTRIBUTE, joined by and, or by or.
func (e *Editor) AddRule(rsc string, options []Pair, words []string) error {
	if err := e.constrainable(rsc); err != nil {
		return err
	}
	con := cib.NewElement("rsc_location", "id", "", "rsc", rsc)
	rule := con.Append(cib.NewElement("rule", "id", ""))
	if err := e.ruleOptions(con, rule, options); err != nil {
		return err
	}
	if con.ID() == "" {
		con.Set("id", e.freeID("location-"+rsc))
	}
	if rule.ID() == "" {
		rule.Set("id", e.freeID(con.ID()+"-rule"))
	}
	if err := e.ruleWords(rule, words); err != nil {
		return err
	}
	e.Doc.Constraints().Append(con)
	return nil
}

func (e *Editor) ruleOptions(con, rule *cib.Element, options []Pair) error {
	for _, p := range options {
		switch p.Name {
		case "constraint-id", "id":
			if err := e.checkNew(p.Value, "constraint id"); err != nil {
				return err
			}
			target := con
			if p.Name == "id" {
				target = rule
			}
			target.Set("id", p.Value)
		case "role":
			role := p.Value
			if err := e.checkRoles(&role); err != nil {
				return err
			}
			rule.Set("role", role)
		case "score":
			score, err := checkScore(p.Value)
			if err != nil {
				return err
			}
			rule.Set("score", score)
		case "score-attribute":
			rule.Set("score-attribute", p.Value)
		case "resource-discovery":
			con.Set("resource-discovery", p.Value)
		default:
			return fmt.Errorf("invalid rule option '%s', allowed options are: 'constraint-id', 'id', 'resource-discovery', 'role', 'score', 'score-attribute'", p.Name)
		}
	}
	if rule.Get("score") == "" && rule.Get("score-attribute") == "" {
		rule.Set("score", "INFINITY")
	}
	return nil
}

func (e *Editor) ruleWords(rule *cib.Element, words []string) error {
	join := ""
	for len(words) > 0 {
		x, n, err := oneExpression(words)
		if err != nil {
			return err
		}
		id := rule.ID() + "-expr"
		if len(rule.Children) > 0 {
			id = fmt.Sprintf("%s-%d", id, len(rule.Children))
		}
		x.Attrs = append([]cib.Attr{{Name: "id", Value: id}}, x.Attrs...)
		rule.Append(x)
		words = words[n:]
		if len(words) == 0 {
			break
		}
		if words[0] != "and" && words[0] != "or" || join != "" && join != words[0] || len(words) == 1 {
			return fmt.Errorf("'%s' is not a valid rule expression: expressions are joined by 'and', or all by 'or'", words[0])
		}
		join, words = words[0], words[1:]
		rule.Set("boolean-op", join)
	}
	return nil
}

// oneExpression reads one expression and tells how many words it took.
func oneExpression(words []string) (*cib.Element, int, error) {
	if (words[0] == "defined" || words[0] == "not_defined") && len(words) > 1 {
		return cib.NewElement("expression", "operation", words[0], "attribute", words[1]), 2, nil
	}
	if len(words) < 3 || !slices.Contains([]string{"eq", "ne", "lt", "gt", "lte", "gte"}, words[1]) {
		return nil, 0, fmt.Errorf("'%s' is not a valid rule expression; write: ATTRIBUTE eq|ne|lt|gt|lte|gte VALUE, or defined|not_defined ATTRIBUTE", words[0])
	}
	return cib.NewElement("expression", "operation", words[1], "attribute", words[0], "value", words[2]), 3, nil
}
