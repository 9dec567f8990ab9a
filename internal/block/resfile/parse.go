package resfile

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// File is a file an include statement brought in.
type File struct {
	Name string
	Src  []byte
}

// maxDepth bounds files that include one another.
const maxDepth = 16

// Parse reads a configuration. name is src's name in messages; include finds the files of an include pattern, which is
// made relative to the directory of the including file, in sorted order (nil: include is an error). The error begins with
// FILE:LINE and says what was expected there.
func Parse(name string, src []byte, include func(pattern string) ([]File, error)) (*Config, error) {
	p := &parser{config: &Config{Name: name}, include: include, warned: map[string]bool{}}
	if err := p.file(File{name, src}, 0); err != nil {
		return nil, err
	}
	for _, r := range p.config.Resources {
		r.common = &p.config.Common
		if err := r.complete(); err != nil {
			return nil, err
		}
	}
	if err := p.config.conflicts(); err != nil {
		return nil, err
	}
	return p.config, nil
}

type parser struct {
	config  *Config
	include func(string) ([]File, error)
	warned  map[string]bool
	// globalAt and commonAt are where these sections were; there may be one of each.
	globalAt, commonAt *Pos
	*lexer
}

func (p *parser) file(f File, depth int) error {
	outer := p.lexer
	p.lexer = newLexer(f.Name, f.Src)
	defer func() { p.lexer = outer }()
	for !p.next.end || p.err != nil {
		if err := p.topLevel(depth); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) topLevel(depth int) error {
	const what = "global | common | resource | skip | include"
	t, err := p.word(what)
	if err != nil {
		return err
	}
	at := Pos{p.name, t.line}
	switch t.text {
	case "global":
		if p.globalAt != nil {
			return conflict(at, *p.globalAt, "global section", "global")
		}
		p.globalAt = &at
		if len(p.config.Resources) > 0 {
			p.warn(at, "global", "You should put the global {} section\n\tin front of any resource {} section")
		}
		p.config.Global, err = p.section("global", p.config.Global)
		return err
	case "common":
		if p.commonAt != nil {
			return conflict(at, *p.commonAt, "resource section", "common")
		}
		p.commonAt = &at
		p.config.HasCommon = true
		return p.commonSection()
	case "resource":
		return p.resource(at)
	case "skip":
		return p.skip()
	case "include":
		return p.includeFiles(at, depth)
	}
	return failure(at, "Parse error: '%s' expected,\n\tbut got %v", what, t)
}

// skip passes over a section with all its braces.
func (p *parser) skip() error {
	for !p.next.punct && !p.next.end {
		p.take()
	}
	if err := p.want("{"); err != nil {
		return err
	}
	for depth := 1; depth > 0; {
		t := p.take()
		switch {
		case t.end || p.err != nil:
			return p.expected("}")
		case t.is("{"):
			depth++
		case t.is("}"):
			depth--
		}
	}
	return nil
}

func (p *parser) includeFiles(at Pos, depth int) error {
	t, err := p.word("a file name")
	if err != nil {
		return err
	}
	if err := p.want(";"); err != nil {
		return err
	}
	pattern := t.text
	if !path.IsAbs(pattern) {
		pattern = path.Join(path.Dir(p.name), pattern)
	}
	if depth >= maxDepth {
		return failure(at, "include '%s': files include one another more than %d deep", t.text, maxDepth)
	}
	if p.include == nil {
		return failure(at, "include '%s': not possible here", t.text)
	}
	files, err := p.include(pattern)
	if err != nil {
		return failure(at, "Failed to open include file '%s': %v", t.text, err)
	}
	if len(files) == 0 && !strings.ContainsAny(pattern, "*?[") {
		return failure(at, "Failed to open include file '%s'.", t.text)
	}
	for _, f := range files {
		if err := p.file(f, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) commonSection() error {
	if err := p.want("{"); err != nil {
		return err
	}
	const what = "protocol | disk | net | syncer | startup | handlers | options"
	for !p.next.is("}") {
		t, err := p.word(what)
		if err != nil {
			return err
		}
		known, err := p.sectionOf(&p.config.Common, t)
		if err != nil {
			return err
		}
		if !known {
			return failure(Pos{p.name, t.line}, "Parse error: '%s' expected,\n\tbut got %v", what, t)
		}
	}
	return p.want("}")
}

// sectionOf reads an option section, or the old protocol statement, into s; known is false if t begins neither.
func (p *parser) sectionOf(s *Sections, t token) (known bool, err error) {
	var into *Options
	switch t.text {
	case "net":
		into = &s.Net
	case "disk":
		into = &s.Disk
	case "options":
		into = &s.Options
	case "startup":
		into = &s.Startup
	case "handlers":
		into = &s.Handlers
	case "syncer":
		return true, p.syncer(s)
	case "protocol":
		o, err := p.option("net", t)
		s.Net = append(s.Net, o...)
		return true, err
	default:
		return false, nil
	}
	*into, err = p.section(t.text, *into)
	return true, err
}

// section reads { NAME VALUE...; ... }.
func (p *parser) section(name string, into Options) (Options, error) {
	if err := p.want("{"); err != nil {
		return nil, err
	}
	for !p.next.is("}") {
		t, err := p.word("an option keyword")
		if err != nil {
			return nil, err
		}
		o, err := p.option(name, t)
		if err != nil {
			return nil, err
		}
		into = append(into, o...)
	}
	return into, p.want("}")
}

// option reads the rest of an option of a section. It returns none for `no-discard-my-data` and the like.
func (p *parser) option(section string, t token) (Options, error) {
	at := Pos{p.name, t.line}
	values, err := p.values()
	if err != nil {
		return nil, err
	}
	name := t.text
	r, known := ruleFor(section, name)
	if bare, no := strings.CutPrefix(name, "no-"); no && !known {
		if r, known = ruleFor(section, bare); known && r.kind == flag {
			name, values = bare, []string{"no"}
		}
	}
	switch {
	case !known && isLater(name):
		p.warn(at, section+"/"+name, fmt.Sprintf("option '%s' of section %s belongs to DRBD 9, ignored", name, section))
		return nil, nil
	case !known && section == "global":
		return nil, failure(at, "Parse error: '%s' expected,\n\tbut got %v", globalWords, t)
	case !known:
		return nil, failure(at, "Parse error: 'an option keyword' expected,\n\tbut got %v%s", t, nearest(section, name))
	case r.idle:
		p.warn(at, section+"/"+name, fmt.Sprintf("option '%s' of section %s has no effect in holdfast", name, section))
	}
	if values, err = r.check(name, values); err != nil {
		return nil, failure(at, "%v", err)
	}
	if section == "global" && r.kind == flag { // drbdadm's own are bare words
		values = nil
	}
	return Options{{name, values, at}}, nil
}

func (p *parser) warn(at Pos, key, text string) {
	if p.warned[key] {
		return
	}
	p.warned[key] = true
	p.config.Warnings = append(p.config.Warnings, fmt.Sprintf("%v: %s", at, text))
}

// syncer reads the section of 8.3 and puts its options where 8.4 has them.
func (p *parser) syncer(s *Sections) error {
	if err := p.want("{"); err != nil {
		return err
	}
	for !p.next.is("}") {
		t, err := p.word("an option keyword")
		if err != nil {
			return err
		}
		section, into := "disk", &s.Disk
		switch t.text {
		case "rate":
			t.text = "resync-rate"
		case "after":
			t.text = "resync-after"
		case "verify-alg", "csums-alg", "use-rle":
			section, into = "net", &s.Net
		case "cpu-mask", "on-no-data-accessible":
			section, into = "options", &s.Options
		}
		o, err := p.option(section, t)
		if err != nil {
			return err
		}
		*into = append(*into, o...)
	}
	return p.want("}")
}

// resource reads the rest of a resource section.
func (p *parser) resource(at Pos) error {
	name, err := p.word("a resource name")
	if err != nil {
		return err
	}
	if err := checkName(Pos{p.name, name.line}, name.text); err != nil {
		return err
	}
	if old, twice := p.config.Resource(name.text); twice {
		return conflict(at, old.Pos, "resource section", name.text)
	}
	r := &resourceParser{parser: p, r: &Resource{Name: name.text, Pos: at}}
	if err := p.want("{"); err != nil {
		return err
	}
	for !p.next.is("}") {
		if err := r.statement(); err != nil {
			return err
		}
	}
	if err := p.want("}"); err != nil {
		return err
	}
	if err := r.stack(); err != nil {
		return err
	}
	if err := r.distribute(); err != nil {
		return err
	}
	p.config.Resources = append(p.config.Resources, r.r)
	return nil
}

// checkName refuses names that could not be part of a path.
func checkName(at Pos, name string) error {
	const limit = 128
	bad := name == "" || len(name) > limit || name == "all" || name[0] == '.' || name[0] == '-' ||
		strings.ContainsFunc(name, func(c rune) bool { return c == '/' || c < '!' || c == 0x7f })
	if bad {
		return failure(at, "'%s' cannot be the name of a resource", name)
	}
	return nil
}

func conflict(at, first Pos, what, key string) error {
	return failure(at, "conflicting use of %s '%s' ...\n%v: %s '%s' first used here.", what, key, first, what, key)
}

// conflicts finds what two resources cannot share on one host: an address, a minor, a disk, a metadata slot.
func (c *Config) conflicts() error {
	type use struct{ what, key string }
	seen := map[use]Pos{}
	claim := func(at Pos, what, key string) error {
		if first, twice := seen[use{what, key}]; twice {
			return conflict(at, first, what, key)
		}
		seen[use{what, key}] = at
		return nil
	}
	for _, r := range c.Resources {
		for _, h := range r.Hosts {
			for _, node := range h.Names {
				if err := h.claim(node, claim); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (h *Host) claim(node string, claim func(at Pos, what, key string) error) error {
	if err := claim(h.Pos, "IP", node+":"+h.Address.Endpoint()); err != nil {
		return err
	}
	for _, v := range h.Volumes {
		key := fmt.Sprintf("device-minor:%s:%d", node, v.Minor)
		if err := claim(v.set["device"], "device-minor", key); err != nil {
			return err
		}
		if h.StackedOn != "" {
			continue
		}
		if err := claim(v.set["disk"], "disk", fmt.Sprintf("disk:%s:%s", node, v.Disk)); err != nil {
			return err
		}
		if v.Meta.Kind == MetaInternal {
			continue
		}
		key = fmt.Sprintf("meta-disk:%s:%s[%s]", node, v.Meta.Device, v.Meta.IndexText())
		if err := claim(v.set["meta-disk"], "meta-disk", key); err != nil {
			return err
		}
	}
	return nil
}

// complete checks that every host has all it needs, and says all that is missing.
func (r *Resource) complete() error {
	var faults []string
	fault := func(at Pos, h *Host, format string, args ...any) {
		faults = append(faults, failure(at, "in resource %s, %s { ... }: %s", r.Name, h.Label(), fmt.Sprintf(format, args...)).Error())
	}
	for _, h := range r.Hosts {
		if h.Address.Host == "" {
			fault(h.Pos, h, "'address' keyword missing.")
		}
		for _, v := range h.Volumes {
			for _, word := range [...]string{"device", "disk", "meta-disk"} {
				if h.StackedOn != "" && word != "device" {
					continue
				}
				if _, ok := v.set[word]; !ok {
					fault(v.Pos, h, "'%s' keyword missing.", word)
				}
			}
		}
		for _, other := range r.Hosts {
			for _, v := range other.Volumes {
				if _, ok := h.Volume(v.Number); !ok {
					fault(h.Pos, h, "volume %d missing (present on %s)", v.Number, strings.TrimPrefix(other.Label(), "on "))
				}
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(slices.Compact(faults), "\n"))
}
