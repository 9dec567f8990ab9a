package tidy

import (
	"slices"
	"strings"
	"testing"
)

// kind says what a package may know.
type kind string

const (
	// core is pure: it gets `now` and events, and gives deadlines and effects. It imports cores of its plane, seams, and
	// coreStandard of the standard library.
	core kind = "core"
	// seam is plain types, interfaces or a codec that planes meet at; it imports no package of ours but other seams.
	seam kind = "seam"
	// base is a binding to one facility of the host that several planes use; it imports seams only.
	base kind = "base"
	// shell performs effects for the cores of its plane.
	shell kind = "shell"
	// wiring puts everything together.
	wiring kind = "wiring"
	// double is for tests only.
	double kind = "double"
)

// room is a package and its kind; the plane follows from the path.
type room struct {
	pkg  string
	kind kind
}

// rooms lists every package below internal. A new one is added here, with the kind it wants to be held to. Packages below
// a listed one that are not listed themselves have its kind.
var rooms = []room{
	{"agent", seam}, {"api", seam}, {"clock", seam}, {"disk", seam}, {"paths", seam}, {"planted", seam}, {"spelling", seam}, {"version", seam}, {"wirebuf", seam},
	{"block/kernel", seam},

	{"blockdev", base}, {"fuse", base}, {"loopdev", base}, {"nbddev", base}, {"ublkdev", base}, {"guard/leasepage", base}, {"timeline", base},

	{"cluster", core}, {"cluster/cib", core}, {"cluster/liveness", core}, {"cluster/quorum", core}, {"cluster/scheduler", core},
	{"cluster/simulate", core}, {"cluster/state", core}, {"cluster/transition", core},
	{"cluster/controller", shell}, {"cluster/executor", shell}, {"cluster/fencer", shell}, {"cluster/pki", shell},
	{"cluster/raftlog", shell}, {"cluster/transport", shell},

	{"agent/agenttest", double}, {"agent/catalog", shell}, {"agent/filesystem", shell}, {"agent/lsb", shell},
	{"agent/mariadb", shell}, {"agent/ocf", shell}, {"agent/process", shell}, {"agent/stonith", shell},
	{"agent/systemd", shell}, {"agent/volume", shell},

	{"block", core}, {"block/generation", core}, {"block/metadata", core}, {"block/peer", core}, {"block/resfile", core},
	{"block/resync", core}, {"block/saved", core}, {"block/wire", core}, {"block/writepath", core},
	{"block/backing", shell}, {"block/kernel/frontend", shell}, {"block/kernel/fuseloop", shell}, {"block/kernel/nbd", shell}, {"block/kernel/ranges", shell},
	{"block/kernel/ublk", shell}, {"block/metastore", shell}, {"block/replica", shell}, {"block/resload", shell},
	{"block/volume", shell},

	{"balancer", shell}, {"balancer/checker", shell}, {"balancer/nft", shell}, {"balancer/pool", core},
	{"balancer/probe", core}, {"balancer/proxy", shell},

	{"guard", shell}, {"guard/deadline", core},

	{"lab", shell}, {"sim", double}, {"tidy", double}, {"block/interop", double}, {"disk/crashdisk", double}, {"loopback", double}, {"drbdutils", double},

	{"daemon", wiring}, {"cli", wiring}, {"web", wiring},
}

// coreStandard is what a core may import of the standard library: nothing that knows a clock, a file, a network, a lock or
// chance. Package time is for its types; see bannedInCore.
var coreStandard = []string{
	"bufio", "bytes", "cmp", "container/heap", "container/list", "crypto/hmac", "crypto/md5", "crypto/sha1", "crypto/sha256",
	"crypto/sha512", "encoding", "encoding/base64", "encoding/binary", "encoding/hex", "encoding/json", "encoding/xml",
	"errors", "fmt", "hash", "hash/crc32", "hash/fnv", "html", "io", "iter", "maps", "math", "math/bits", "net/netip", "path", "regexp",
	"slices", "sort", "strconv", "strings", "text/tabwriter", "time", "unicode", "unicode/utf8",
}

// planes never import one another; what they have in common are the seams.
var planes = []string{"cluster", "block", "balancer"}

// mayAlsoUse are the planes a plane's shells may use beside their own.
var mayAlsoUse = map[string][]string{
	"cluster": {"agent"}, // the executor runs agents
}

// roomOf finds a package's room by its path below internal.
func roomOf(pkg string) (room, bool) {
	for p := pkg; ; {
		for _, r := range rooms {
			if r.pkg == p {
				return room{pkg, r.kind}, true
			}
		}
		slash := strings.LastIndexByte(p, '/')
		if slash < 0 {
			return room{}, false
		}
		p = p[:slash]
	}
}

func planeOf(pkg string) string {
	plane, _, _ := strings.Cut(pkg, "/")
	return plane
}

func belowInternal(path string) (string, bool) { return strings.CutPrefix(path, "internal/") }

func TestImports(t *testing.T) {
	for _, f := range source(t) {
		pkg, inside := belowInternal(f.pkg)
		if !inside || f.test {
			continue
		}
		r, known := roomOf(pkg)
		if !known {
			t.Errorf("%s: package %s has no kind: add it to rooms in internal/tidy/rooms_test.go", f.path, pkg)
			continue
		}
		for _, path := range f.imports() {
			if why := objection(r, path); why != "" {
				t.Errorf("%s: a %s may not import %s: %s", f.path, r.kind, path, why)
			}
		}
	}
}

// objection says why a package may not import a path; empty if it may.
func objection(r room, path string) string {
	ours, isOurs := strings.CutPrefix(path, module+"/internal/")
	if !isOurs {
		if r.kind == core && !slices.Contains(coreStandard, path) {
			return "a core is pure; let the shell do it and pass the result in"
		}
		return ""
	}
	other, known := roomOf(ours)
	if !known {
		return "it has no kind in rooms"
	}
	if crossesPlanes(r.pkg, ours, other.kind) {
		return "cluster, block and balancer never import one another; they meet in api, agent and daemon"
	}
	return objectionToOurs(r, other)
}

func crossesPlanes(from, to string, kind kind) bool {
	a, b := planeOf(from), planeOf(to)
	return a != b && kind != seam && slices.Contains(planes, a) && slices.Contains(planes, b)
}

func objectionToOurs(r, other room) string {
	switch {
	case r.kind == wiring || r.kind == double || other.kind == seam:
		return ""
	case other.kind == wiring || other.kind == double:
		return "only daemon and cli know everything, and doubles are for tests"
	case r.kind == seam:
		return "a seam imports seams only"
	case r.kind == base:
		return "a binding to the kernel imports seams only"
	case r.kind == core && other.kind != core:
		return "a core imports cores of its plane and seams"
	case other.kind == base || planeOf(r.pkg) == planeOf(other.pkg):
		return ""
	case r.kind == shell && slices.Contains(mayAlsoUse[planeOf(r.pkg)], planeOf(other.pkg)):
		return ""
	}
	return "it belongs to another plane"
}
