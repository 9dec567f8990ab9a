package drbd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/block/metadata"
)

// metaVerb is one command of drbdmeta. bare ones also work where there is no metadata.
type metaVerb struct {
	name string
	bare bool
	run  func(*call, *metaDisk) error
}

func metaVerbs() []metaVerb {
	return []metaVerb{
		{"get-gi", false, func(c *call, m *metaDisk) error {
			_, err := fmt.Fprintln(c.Stdout, storedIdentifiers(&m.store.SB))
			return err
		}},
		{"show-gi", false, func(c *call, m *metaDisk) error {
			_, err := fmt.Fprint(c.Stdout, explain(storedIdentifiers(&m.store.SB), &m.store.SB))
			return err
		}},
		{"dump-md", false, (*call).dumpMeta},
		{"apply-al", false, (*call).applyAL},
		{"wipe-md", true, (*call).wipe},
		{"outdate", false, (*call).outdateDisk},
		{"invalidate", false, (*call).invalidateDisk},
		{"dstate", false, func(c *call, m *metaDisk) error {
			_, err := fmt.Fprintln(c.Stdout, m.store.SB.Disk())
			return err
		}},
		{"check-resize", true, (*call).checkSize},
		{"create-md", true, (*call).create},
		{"set-gi", false, func(c *call, m *metaDisk) error { return c.setGI(c.identifiersWord)(m) }},
		{"read-dev-uuid", false, func(c *call, m *metaDisk) error {
			_, err := fmt.Fprintf(c.Stdout, "%016X\n", m.store.SB.DeviceUUID)
			return err
		}},
		{"write-dev-uuid", false, func(c *call, m *metaDisk) error {
			n, err := strconv.ParseUint(c.identifiersWord, 16, 64)
			if err != nil {
				return fail(exitUsage, "write-dev-uuid: 16 hexadecimal digits are expected, not '%s'", c.identifiersWord)
			}
			m.store.SB.DeviceUUID = n
			return m.store.Save()
		}},
	}
}

// RunMeta executes one drbdmeta command line: [--force] MINOR v08 DISK INDEX COMMAND [ARGUMENTS].
func RunMeta(args []string, env Env) int {
	c := &call{Env: env, client: api.NewClient(env.Root.DaemonSocket()), values: map[string]string{}}
	return c.finish(c.runMeta(args))
}

func (c *call) runMeta(args []string) error {
	var words []string
	for i := 0; i < len(args); i++ {
		name, value, attached := strings.Cut(args[i], "=")
		if !strings.HasPrefix(name, "-") {
			words = append(words, args[i])
			continue
		}
		if hasValue, ok := passedOn(name); ok && hasValue && !attached && i+1 < len(args) {
			i++
			value = args[i]
		}
		if err := c.option(name, value, args[i]); err != nil {
			return err
		}
	}
	const least = 5
	if len(words) < least {
		c.metaUsage()
		return fail(exitSystem, "Too few arguments")
	}
	m, err := metaArgs(words)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(metaVerbs(), func(v metaVerb) bool { return v.name == words[4] })
	if i < 0 {
		return fail(exitSystem, "Unknown command '%s'.", words[4])
	}
	if len(words) > least {
		c.identifiersWord = words[least]
	}
	return c.onDisk(m, metaVerbs()[i])
}

// metaArgs reads MINOR FORMAT DISK INDEX.
func metaArgs(words []string) (*metaDisk, error) {
	minor, err := strconv.Atoi(strings.TrimPrefix(words[0], "/dev/drbd"))
	if err != nil || minor < 0 {
		return nil, fail(exitSystem, "Cannot determine minor device number of device '%s'", words[0])
	}
	if words[1] != "v08" {
		return nil, fail(exitSystem, "format '%s' is not supported: v08 is", words[1])
	}
	m := &metaDisk{minor: minor, path: words[2], text: words[3]}
	switch words[3] {
	case "internal":
		m.kind = metadata.Internal
	case "flex-external", "flexible":
		m.kind = metadata.Flexible
	case "flex-internal":
		m.kind, m.text = metadata.Internal, "internal"
	default:
		m.kind = metadata.Indexed
		if m.index, err = strconv.Atoi(words[3]); err != nil || m.index < 0 || m.index > 255 {
			return nil, fail(exitSystem, "'%s' is not a valid index number.", words[3])
		}
	}
	return m, nil
}

func (c *call) onDisk(m *metaDisk, v metaVerb) error {
	if err := m.open(); err != nil {
		return fail(exitSystem, "open(%s) failed: %v", m.path, cause(err))
	}
	run := func() error {
		if !v.bare {
			if err := m.needMetadata(); err != nil {
				return err
			}
		}
		return v.run(c, m)
	}
	return errors.Join(run(), m.dev.Close())
}

func (c *call) metaUsage() {
	fmt.Fprint(c.Stderr, "\nUSAGE: drbdmeta [--force] DEVICE FORMAT [FORMAT ARGS...] COMMAND [CMD ARGS...]\n\nFORMATS:\n  v08 device index\n\nCOMMANDS:\n")
	for _, v := range metaVerbs() {
		fmt.Fprintf(c.Stderr, "  %s\n", v.name)
	}
}
