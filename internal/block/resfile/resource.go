package resfile

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

const (
	resourceWords = "protocol | on | disk | net | syncer | startup | handlers | options | volume | floating | device | " +
		"meta-disk | flexible-meta-disk | ignore-on | stacked-on-top-of | proxy"
	hostWords   = "disk | device | address | meta-disk | flexible-meta-disk"
	volumeWords = "device | disk | meta-disk | flexible-meta-disk"
	maxVolume   = 65535
	maxMinor    = 1<<20 - 1
	maxPort     = 65535
	maxIndex    = 255
)

// resourceParser reads one resource. Volume statements of the resource itself hold for every host.
type resourceParser struct {
	*parser
	r        *Resource
	shared   []*Volume
	implicit bool
}

func (p *resourceParser) statement() error {
	t, err := p.word(resourceWords)
	if err != nil {
		return err
	}
	at := Pos{p.name, t.line}
	switch t.text {
	case "on":
		return p.on(at)
	case "floating":
		return p.floating(at)
	case "volume":
		return p.volume(at, &p.shared)
	case "stacked-on-top-of":
		return p.stackedOn(at)
	case "ignore-on":
		p.warn(at, t.text, fmt.Sprintf("in resource %s, WARN: The 'ignore-on' keyword is deprecated.", p.r.Name))
		_, err := p.values()
		return err
	case "proxy":
		return p.proxy(at)
	}
	if isVolumeWord(t.text) && !(t.text == "disk" && p.next.is("{")) {
		p.implicit = true
		return p.volumeStatement(implicitVolume(&p.shared, at), t)
	}
	known, err := p.sectionOf(&p.r.Own, t)
	if err == nil && !known {
		err = failure(at, "Parse error: '%s' expected,\n\tbut got %v", resourceWords, t)
	}
	return err
}

func isVolumeWord(w string) bool {
	return w == "device" || w == "disk" || w == "meta-disk" || w == "flexible-meta-disk"
}

// implicitVolume is volume 0, written without a section.
func implicitVolume(vs *[]*Volume, at Pos) *Volume { return volumeNumber(vs, 0, at) }

func volumeNumber(vs *[]*Volume, number int, at Pos) *Volume {
	for _, v := range *vs {
		if v.Number == number {
			return v
		}
	}
	v := &Volume{Number: number, Pos: at, set: map[string]Pos{}}
	*vs = append(*vs, v)
	return v
}

// on reads `on NAME... { ... }`.
func (p *resourceParser) on(at Pos) error {
	h := &Host{Pos: at}
	for !p.next.is("{") {
		t, err := p.word("a host name")
		if err != nil {
			return err
		}
		h.Names = append(h.Names, t.text)
	}
	if len(h.Names) == 0 {
		return p.expected("a host name")
	}
	for _, name := range h.Names {
		if old := p.r.host(name); old != nil {
			return conflict(at, old.Pos, "host section", p.r.Name+": on "+name)
		}
	}
	p.r.Hosts = append(p.r.Hosts, h)
	return p.hostBody(h)
}

// stackedOn reads `stacked-on-top-of RESOURCE { device ...; address ...; }`.
func (p *resourceParser) stackedOn(at Pos) error {
	t, err := p.word("a resource name")
	if err != nil {
		return err
	}
	h := &Host{Pos: at, StackedOn: t.text}
	p.r.Hosts = append(p.r.Hosts, h)
	return p.hostBody(h)
}

// stack gives stacked hosts the node names of the resource below, which must come before.
func (p *resourceParser) stack() error {
	for _, h := range p.r.Hosts {
		if h.StackedOn == "" {
			continue
		}
		lower, ok := p.config.Resource(h.StackedOn)
		if !ok {
			return failure(h.Pos, "in resource %s, referenced resource '%s' not defined.", p.r.Name, h.StackedOn)
		}
		for _, below := range lower.Hosts {
			h.Names = append(h.Names, below.Names...)
		}
	}
	return nil
}

// proxy passes over a section of the proxy of LINBIT, which holdfast has none of.
func (p *parser) proxy(at Pos) error {
	p.warn(at, "proxy", "section 'proxy' has no effect in holdfast")
	return p.skip()
}

// floating reads `floating ADDRESS;` or `floating ADDRESS { ... }`.
func (p *resourceParser) floating(at Pos) error {
	h := &Host{Pos: at, Floating: true}
	p.r.Hosts = append(p.r.Hosts, h)
	if err := p.address(&h.Address); err != nil {
		return err
	}
	if p.next.is(";") {
		p.take()
		return nil
	}
	return p.hostBody(h)
}

func (p *resourceParser) hostBody(h *Host) error {
	if err := p.want("{"); err != nil {
		return err
	}
	for !p.next.is("}") {
		if err := p.hostStatement(h); err != nil {
			return err
		}
	}
	return p.want("}")
}

func (p *resourceParser) hostStatement(h *Host) error {
	t, err := p.word(hostWords)
	if err != nil {
		return err
	}
	at := Pos{p.name, t.line}
	switch {
	case t.text == "address":
		if h.Address.Host != "" {
			return conflict(at, h.Pos, "address statement", p.r.Name+":"+h.Name()+":address")
		}
		if err := p.address(&h.Address); err != nil {
			return err
		}
		return p.want(";")
	case t.text == "volume":
		return p.volume(at, &h.Volumes)
	case t.text == "proxy":
		return p.proxy(at)
	case t.text == "options" && p.next.is("{"): // as drbdadm: these hold on this host, and holdfast has no use for them
		p.warn(at, "host/options", "options of a host have no effect in holdfast")
		_, err := p.section("options", nil)
		return err
	case isVolumeWord(t.text):
		h.Implicit = true
		return p.volumeStatement(implicitVolume(&h.Volumes, h.Pos), t)
	}
	return failure(at, "Parse error: '%s' expected,\n\tbut got %v", hostWords, t)
}

// volume reads `volume NUMBER { ... }`.
func (p *resourceParser) volume(at Pos, into *[]*Volume) error {
	n, err := p.number("volume", 0, maxVolume)
	if err != nil {
		return err
	}
	v := volumeNumber(into, n, at)
	if err := p.want("{"); err != nil {
		return err
	}
	for !p.next.is("}") {
		t, err := p.word(volumeWords)
		if err != nil {
			return err
		}
		if !isVolumeWord(t.text) {
			return failure(Pos{p.name, t.line}, "Parse error: '%s' expected,\n\tbut got %v", volumeWords, t)
		}
		if err := p.volumeStatement(v, t); err != nil {
			return err
		}
	}
	return p.want("}")
}

// volumeStatement reads the rest of device, disk, meta-disk or flexible-meta-disk, or a disk section.
func (p *resourceParser) volumeStatement(v *Volume, t token) error {
	at := Pos{p.name, t.line}
	if t.text == "disk" && p.next.is("{") {
		o, err := p.section("disk", v.Options)
		v.Options = o
		return err
	}
	word := strings.TrimPrefix(t.text, "flexible-")
	if first, twice := v.set[word]; twice {
		return conflict(at, first, word+" statement", p.r.Name+":"+word)
	}
	v.set[word] = at
	switch t.text {
	case "device":
		return p.device(v)
	case "disk":
		d, err := p.path("disk")
		v.Disk = d
		if err != nil {
			return err
		}
		return p.want(";")
	}
	return p.metaDisk(v, t.text == "flexible-meta-disk")
}

func (p *resourceParser) path(what string) (string, error) {
	t, err := p.word("the path of a " + what)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(t.text, "/") {
		return "", failure(Pos{p.name, t.line}, "%s '%s': a path that begins with / is expected", what, t.text)
	}
	return t.text, nil
}

// device reads `device /dev/drbdN [minor N];`, `device minor N;` or `device drbdN;`.
func (p *resourceParser) device(v *Volume) error {
	at := p.pos()
	known := false
	if p.next.text != "minor" {
		t, err := p.word("device")
		if err != nil {
			return err
		}
		if v.Device, v.Minor, known, err = deviceName(at, t.text); err != nil {
			return err
		}
	}
	switch {
	case p.next.text == "minor" && !p.next.punct:
		p.take()
		n, err := p.number("minor", 0, maxMinor)
		if err != nil {
			return err
		}
		v.Minor, known = n, true
	case !p.next.is(";"):
		return p.expected("minor | ;")
	}
	if !known {
		return failure(at, "no minor given nor device name contains a minor number")
	}
	return p.want(";")
}

func deviceName(at Pos, name string) (device string, minor int, known bool, err error) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "/dev/"), "drbd")
	if !ok || strings.ContainsAny(rest, "/") || rest == "" {
		return "", 0, false, failure(at, "device name must start with /dev/drbd\n\t(/dev/ is optional, but drbd is required), not '%s'", name)
	}
	digits := strings.TrimPrefix(rest, "_")
	n, err := strconv.Atoi(digits)
	return "/dev/drbd" + rest, max(n, 0), err == nil && n >= 0 && n <= maxMinor && rest == digits, nil
}

// metaDisk reads `internal;`, `DEV;` or `DEV [INDEX];`.
func (p *resourceParser) metaDisk(v *Volume, flexible bool) error {
	if p.next.text == "internal" && !p.next.punct {
		p.take()
		v.Meta = MetaDisk{Kind: MetaInternal}
		return p.want(";")
	}
	d, err := p.path("meta-disk (or internal)")
	if err != nil {
		return err
	}
	v.Meta = MetaDisk{Kind: MetaFlexible, Device: d}
	if !flexible && p.next.is("[") {
		p.take()
		v.Meta.Kind = MetaIndexed
		if v.Meta.Index, err = p.number("meta-disk index", 0, maxIndex); err != nil {
			return err
		}
		if err := p.want("]"); err != nil {
			return err
		}
	}
	return p.want(";")
}

// number takes a whole number of a range.
func (p *parser) number(what string, low, high int) (int, error) {
	at := p.pos()
	t, err := p.word("a number")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(t.text)
	if err != nil {
		return 0, failure(at, "Parse error: 'a number (%s)' expected,\n\tbut got %v", what, t)
	}
	if n < low || n > high {
		return 0, failure(at, "%s %d => %d out of range [%d..%d].", what, n, n, low, high)
	}
	return n, nil
}

// address reads `[ipv4|ipv6|sdp|ssocks] HOST:PORT`, without the semicolon.
func (p *parser) address(a *Address) error {
	a.Family = "ipv4"
	switch p.next.text {
	case "ipv4", "ipv6", "sdp", "ssocks":
		a.Family = p.take().text
	case "sci":
		p.take()
		a.Family = "ssocks"
	}
	at := p.pos()
	if p.next.is("[") {
		return p.address6(a)
	}
	t, err := p.word("an IP address")
	if err != nil {
		return err
	}
	host, port, colon := strings.Cut(t.text, ":")
	if !colon {
		return p.expected(":")
	}
	if port == "" { // "10.0.1.4: 7788"
		next, err := p.word("a port")
		if err != nil {
			return err
		}
		port = next.text
	}
	if !isIPv4(host) {
		return failure(at, "address '%s': an IP address is expected, such as 10.0.1.4 (or ipv6 [fd01::4])", host)
	}
	a.Host = host
	return a.setPort(at, port)
}

func (p *parser) address6(a *Address) error {
	at := p.pos()
	p.take()
	t, err := p.word("an IPv6 address")
	if err != nil {
		return err
	}
	if !strings.Contains(t.text, ":") || strings.Trim(t.text, "0123456789abcdefABCDEF:.") != "" && !strings.Contains(t.text, "%") {
		return failure(at, "address '[%s]': an IPv6 address is expected", t.text)
	}
	if err := p.want("]"); err != nil {
		return err
	}
	port, err := p.word(":")
	if err != nil {
		return err
	}
	digits, colon := strings.CutPrefix(port.text, ":")
	if !colon {
		return failure(at, "Parse error: ':' expected,\n\tbut got %v", port)
	}
	a.Family, a.Host = "ipv6", t.text
	return a.setPort(at, digits)
}

func (a *Address) setPort(at Pos, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return failure(at, "Parse error: 'a port number' expected,\n\tbut got '%s'", text)
	}
	if n < 1 || n > maxPort {
		return failure(at, "port %d => %d out of range [1..%d].", n, n, maxPort)
	}
	a.Port = n
	return nil
}

func isIPv4(host string) bool {
	parts := strings.Split(host, ".")
	return len(parts) == 4 && !slices.ContainsFunc(parts, func(s string) bool {
		n, err := strconv.Atoi(s)
		return err != nil || n < 0 || n > 255
	})
}

// distribute gives every host the volume statements of the resource that it does not have itself.
func (p *resourceParser) distribute() error {
	for _, h := range p.r.Hosts {
		for _, s := range p.shared {
			volumeNumber(&h.Volumes, s.Number, h.Pos).inherit(s)
		}
		h.Implicit = h.Implicit || p.implicit
		slices.SortFunc(h.Volumes, func(a, b *Volume) int { return a.Number - b.Number })
		if h.Implicit && len(h.Volumes) > 1 {
			return failure(h.Pos, "in resource %s, %s { ... }: a volume without a volume section beside others; "+
				"put it into 'volume 0 { ... }'", p.r.Name, h.Label())
		}
	}
	return nil
}

func (v *Volume) inherit(from *Volume) {
	for _, word := range slices.Sorted(maps.Keys(from.set)) {
		if _, own := v.set[word]; own {
			continue
		}
		v.set[word] = from.set[word]
		switch word {
		case "device":
			v.Device, v.Minor = from.Device, from.Minor
		case "disk":
			v.Disk = from.Disk
		case "meta-disk":
			v.Meta = from.Meta
		}
	}
	v.Shared = from.Options
}
