package pcs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"holdfast/internal/api"
)

// auth makes this host and others trust one another: `cluster auth A B` and `host auth A addr=X B`.
func (c *call) auth() error {
	hosts, err := authHosts(c.words)
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		hosts = []api.AuthHost{{Name: c.env.Hostname}}
	}
	user, password, err := c.credentials()
	if err != nil {
		return err
	}
	var reply api.AuthReply
	if err := c.act("cluster.auth", api.AuthRequest{Hosts: hosts, Username: user, Password: password}, &reply); err != nil {
		return err
	}
	return c.results(reply.Results, "Authorized")
}

// authHosts reads NODE [addr=ADDRESS[:PORT]] ...
func authHosts(words []string) ([]api.AuthHost, error) {
	var out []api.AuthHost
	for _, w := range words {
		addr, isAddr := strings.CutPrefix(w, "addr=")
		switch {
		case isAddr && len(out) == 0:
			return nil, fmt.Errorf("'%s' stands before any node name; write: pcs host auth NODE %s", w, w)
		case isAddr:
			out[len(out)-1].Addr = addr
		case strings.Contains(w, "="):
			return nil, fmt.Errorf("'%s' is neither a node name nor addr=ADDRESS", w)
		default:
			out = append(out, api.AuthHost{Name: w})
		}
	}
	return out, nil
}

// credentials takes the name and the password from -u and -p, or asks for them as pcs does.
func (c *call) credentials() (user, password string, err error) {
	in := bufio.NewReader(c.env.Stdin)
	user, password = c.args.get("u"), c.args.get("p")
	if !c.args.has("u") {
		fmt.Fprint(c.env.Stdout, "Username: ")
		if user, err = readLine(in); err != nil {
			return "", "", fmt.Errorf("read the username: %w", err)
		}
	}
	if !c.args.has("p") {
		fmt.Fprint(c.env.Stdout, "Password: ")
		if password, err = c.readPassword(in); err != nil {
			return "", "", fmt.Errorf("read the password: %w", err)
		}
		fmt.Fprintln(c.env.Stdout)
	}
	if user == "" || password == "" {
		return "", "", errors.New("a username (hacluster) and its password are needed; nothing was done")
	}
	return user, password, nil
}

// readPassword reads a line without echo when stdin is a terminal.
func (c *call) readPassword(in *bufio.Reader) (string, error) {
	if f, ok := c.env.Stdin.(*os.File); ok && c.env.Terminal && term.IsTerminal(int(f.Fd())) {
		b, err := term.ReadPassword(int(f.Fd()))
		return string(b), err
	}
	return readLine(in)
}

func readLine(in *bufio.Reader) (string, error) {
	s, err := in.ReadString('\n')
	if errors.Is(err, io.EOF) && s != "" {
		err = nil
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the input ended; give it with -u USERNAME -p PASSWORD")
	}
	return strings.TrimRight(s, "\r\n"), err
}

// results prints what came of each node. Any failure makes the command fail.
func (c *call) results(list []api.NodeResult, done string) error {
	failed := 0
	for _, r := range list {
		text := r.Message
		if text == "" {
			text = done
		}
		if r.OK {
			c.out("%s: %s", r.Node, text)
			continue
		}
		failed++
		fmt.Fprintf(c.env.Stderr, "Error: %s: %s\n", r.Node, text)
	}
	if failed > 0 {
		return &silentError{code: 1}
	}
	return nil
}

// setup makes a new cluster: `--name NAME NODE NODE`, or as since pcs 0.10 `NAME NODE NODE`.
func (c *call) setup() error {
	req, err := c.setupRequest()
	if err != nil {
		return err
	}
	var reply api.SetupReply
	if err := c.act("cluster.setup", req, &reply); err != nil {
		return err
	}
	if err := c.results(reply.Results, "Succeeded"); err != nil {
		return fmt.Errorf("the cluster '%s' was not set up; see above", req.Name)
	}
	c.out("Cluster has been successfully set up.")
	mentioned := false
	for _, w := range reply.Warnings {
		c.warn("%s", w)
		mentioned = mentioned || strings.Contains(w, "witness")
	}
	if len(req.Nodes)%2 == 0 && !mentioned {
		c.warn("%s", evenVotes(len(req.Nodes)))
	}
	return nil
}

// evenVotes is the warning for a cluster that cannot lose a node.
func evenVotes(n int) string {
	if n == 2 {
		return "two votes make a cluster that freezes when a peer is lost: a lone survivor has no majority.\n" +
			"         Add a third vote without data on any other host: holdfast witness add HOST"
	}
	return fmt.Sprintf("%d votes survive the loss of no more nodes than %d do.\n         Add a vote without data on any other host: holdfast witness add HOST", n, n-1)
}

func (c *call) setupRequest() (api.SetupRequest, error) {
	parts := groups(c.words, "totem", "transport", "quorum")
	words := parts[""]
	req := api.SetupRequest{Name: c.args.get("name"), Force: c.args.has("force"), Start: c.args.has("start")}
	if !c.args.has("name") && len(words) > 0 {
		req.Name, words = words[0], words[1:]
	}
	for _, w := range words {
		if strings.HasPrefix(w, "addr=") {
			return req, fmt.Errorf("the address of a node is given when it is authorized: pcs host auth NODE %s", w)
		}
		if strings.ContainsAny(w, "=,") {
			return req, fmt.Errorf("'%s' is not a valid node name", w)
		}
		req.Nodes = append(req.Nodes, w)
	}
	if req.Name == "" || len(req.Nodes) == 0 {
		return req, c.usage("a cluster needs a name and nodes")
	}
	if dup := firstDuplicate(req.Nodes); dup != "" {
		return req, fmt.Errorf("node '%s' is named twice", dup)
	}
	var err error
	req.Token, err = c.token(parts["totem"])
	return req, err
}

// token reads the token timeout, in milliseconds, from --token (pcs 0.9) or totem token= (since 0.10).
func (c *call) token(totem []string) (int, error) {
	value := c.args.get("token")
	for _, w := range totem {
		v, ok := strings.CutPrefix(w, "token=")
		if !ok {
			return 0, fmt.Errorf("totem option '%s' is not supported; there is: token=MILLISECONDS", w)
		}
		value = v
	}
	if value == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("'%s' is not a valid token value, use a positive number of milliseconds", value)
	}
	return n, nil
}

func firstDuplicate(list []string) string {
	seen := map[string]bool{}
	for _, s := range list {
		if seen[s] {
			return s
		}
		seen[s] = true
	}
	return ""
}

// nodesRequest reads [--all | NODE...]; neither is this host.
func (c *call) nodesRequest() (api.NodesRequest, error) {
	req := api.NodesRequest{Nodes: c.words, All: c.args.has("all"), Force: c.args.has("force")}
	if req.All && len(req.Nodes) > 0 {
		return req, errors.New("cannot specify both --all and a list of nodes")
	}
	for _, n := range req.Nodes {
		if n == "all" {
			return req, fmt.Errorf("'all' is no node here\nDid you mean: pcs %s --all", c.verb.name)
		}
	}
	if !req.All && len(req.Nodes) == 0 {
		req.Nodes = []string{c.env.Hostname}
	}
	return req, nil
}

func (c *call) onNodes(method, done string) error {
	req, err := c.nodesRequest()
	if err != nil {
		return err
	}
	var reply api.NodesReply
	if err := c.act(method, req, &reply); err != nil {
		return err
	}
	return c.results(reply.Results, done)
}

func (c *call) start() error {
	if err := c.onNodes("cluster.start", "Starting Cluster..."); err != nil {
		return err
	}
	return c.waitFor("the cluster to run", func(s *snapshot) bool { return s.status.Running && s.status.Quorate })
}

func (c *call) stop() error { return c.onNodes("cluster.stop", "Stopping Cluster...") }

func (c *call) destroy() error {
	if len(c.words) > 0 {
		return c.usage("cluster destroy takes no node names: run it on the node, or with --all on one")
	}
	return c.onNodes("cluster.destroy", "Successfully destroyed cluster")
}

// enableAtBoot explains that systemd decides what starts at boot.
func (c *call) enableAtBoot() error {
	word := strings.TrimPrefix(c.verb.name, "cluster ")
	return fmt.Errorf("whether the cluster starts at boot is a matter of the daemon's unit; on each node run: systemctl %s holdfast", word)
}
