package resfile

import (
	"errors"
	"os"

	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mustParse(t *testing.T, src string) *Config {
	t.Helper()
	c, err := Parse("drbd.conf", []byte(src), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tutorial(t *testing.T) string {
	t.Helper()
	src, err := os.ReadFile("testdata/tutorial.res")
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

// TestTutorial reads the tutorial's file as it stands, and as it is after being pasted with leading spaces of any kind.
func TestTutorial(t *testing.T) {
	plain := tutorial(t)
	for name, src := range map[string]string{
		"as typed":    plain,
		"indented":    "    " + strings.ReplaceAll(plain, "\n", "\n    "),
		"hard spaces": strings.ReplaceAll(plain, " ", "\u00a0"),
		"wide spaces": "\ufeff" + strings.ReplaceAll(plain, "        ", "\u3000"),
		"windows":     strings.ReplaceAll(plain, "\n", "\r\n"),
		"one line":    strings.ReplaceAll(plain, "\n", " "),
	} {
		t.Run(name, func(t *testing.T) { checkTutorial(t, mustParse(t, src)) })
	}
}

func checkTutorial(t *testing.T, c *Config) {
	t.Helper()
	r, ok := c.Resource("mysqlr0")
	if !ok {
		t.Fatal("no resource mysqlr0")
	}
	if r.Protocol() != "C" {
		t.Errorf("protocol %s", r.Protocol())
	}
	self, peer, err := r.For("lqi1ecmy02")
	if err != nil {
		t.Fatal(err)
	}
	if self.Address.Endpoint() != "10.0.1.5:7788" || peer.Address.Endpoint() != "10.0.1.4:7788" || peer.Name() != "lqi1ecmy01" {
		t.Errorf("self %v, peer %v %s", self.Address, peer.Address, peer.Name())
	}
	v, ok := self.Volume(0)
	if !ok || v.Device != "/dev/drbd1" || v.Minor != 1 || v.Disk != "/dev/sdc" || v.Meta.Kind != MetaInternal {
		t.Errorf("volume %+v", v)
	}
	if len(c.Warnings) != 0 {
		t.Errorf("warnings %q", c.Warnings)
	}
	if _, _, err := r.For("elsewhere"); err == nil || err.Error() != "'mysqlr0' not defined in your config (for this host)." {
		t.Errorf("on another host: %v", err)
	}
}

// TestTutorialText finds the file in the tutorial itself.
func TestTutorialText(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "shared/tutorial/tutorial.zh.txt"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		src := regexp.MustCompile(`(?s)resource mysqlr0 \{.*?\n\}\n`).Find(text)
		if src == nil {
			t.Fatal("the tutorial has no resource mysqlr0")
		}
		checkTutorial(t, mustParse(t, string(src)))
		return
	}
	t.Skip("the tutorial is not here")
}

// host wraps statements of an on section into a whole resource.
func host(body string) string { return "resource r0 {\n on n1 {\n" + body + "\n}\n}\n" }

const volumeBody = "device /dev/drbd1; disk /dev/x; meta-disk internal;"

// pair is a resource with two hosts and the given statements of its own.
func pair(own string) string {
	return "resource r0 { " + own + "\n on n1 { address 127.0.0.1:77; } on n2 { address 127.0.0.2:77; } }\n"
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{host("device /dev/drbd1 disk /dev/x;"), "drbd.conf:3: Parse error: 'minor | ;' expected,\n\tbut got 'disk'"},
		{host("address 127.0.0.1;"), "drbd.conf:3: Parse error: ':' expected,\n\tbut got ';'"},
		{host("address 127.0.0.1:70000;"), "drbd.conf:3: port 70000 => 70000 out of range [1..65535]."},
		{host("address 127.0.0.1:abc;"), "drbd.conf:3: Parse error: 'a port number' expected,\n\tbut got 'abc'"},
		{host("address 500.0.0.1:77;"), "drbd.conf:3: address '500.0.0.1': an IP address is expected, such as 10.0.1.4 (or ipv6 [fd01::4])"},
		{host("address ipv6 [::1]77;"), "drbd.conf:3: Parse error: ':' expected,\n\tbut got '77'"},
		{host(volumeBody), "drbd.conf:2: in resource r0, on n1 { ... }: 'address' keyword missing."},
		{host("address 127.0.0.1:77; device /dev/drbd1; disk /dev/x;"), "drbd.conf:2: in resource r0, on n1 { ... }: 'meta-disk' keyword missing."},
		{host("foo;"), "drbd.conf:3: Parse error: '" + hostWords + "' expected,\n\tbut got 'foo'"},
		{host("device /dev/sdb;"), "drbd.conf:3: device name must start with /dev/drbd\n\t(/dev/ is optional, but drbd is required), not '/dev/sdb'"},
		{host("device /dev/drbd_mysql;"), "drbd.conf:3: no minor given nor device name contains a minor number"},
		{host("disk sdc;"), "drbd.conf:3: disk 'sdc': a path that begins with / is expected"},
		{host("meta-disk intern;"), "drbd.conf:3: meta-disk (or internal) 'intern': a path that begins with / is expected"},
		{host("meta-disk /dev/sde[x];"), "drbd.conf:3: Parse error: 'a number (meta-disk index)' expected,\n\tbut got 'x'"},
		{host("device /dev/drbd1;\ndevice /dev/drbd2;"), "drbd.conf:4: conflicting use of device statement 'r0:device' ...\ndrbd.conf:3: device statement 'r0:device' first used here."},
		{"resource r0 { bogus 1; }", "drbd.conf:1: Parse error: '" + resourceWords + "' expected,\n\tbut got 'bogus'"},
		{"resource r0 {\nnet { timeout abc; } }", "drbd.conf:2: abc is not a valid number"},
		{"resource r0 { net { timeout 100000; } }", "drbd.conf:1: timeout 100000 => 100000 out of range [1..600]."},
		{"resource r0 { net { timeout; } }", "drbd.conf:1: Parse error: 'a value of timeout' expected,\n\tbut got ';'"},
		{"resource r0 { net { allow-two-primaries maybe; } }", "drbd.conf:1: Parse error: 'yes | no' expected after allow-two-primaries,\n\tbut got 'maybe'"},
		{"resource r0 { protocol D; }", "drbd.conf:1: unknown protocol 'D', should be one of A,B,C"},
		{"resource r0 { net { timeout 10 } }", "drbd.conf:1: Parse error: ';' expected,\n\tbut got '}'"},
		{"resource r0 { net timeout 10; }", "drbd.conf:1: Parse error: '{' expected,\n\tbut got 'timeout'"},
		{"resource r0 { volume x { } }", "drbd.conf:1: Parse error: 'a number (volume)' expected,\n\tbut got 'x'"},
		{"resource r0 { on n1 {", "drbd.conf:1: Parse error: '" + hostWords + "' expected,\n\tbut got end of file"},
		{"resorce r0 {}", "drbd.conf:1: Parse error: 'global | common | resource | skip | include' expected,\n\tbut got 'resorce'"},
		{"resource { }", "drbd.conf:1: Parse error: 'a resource name' expected,\n\tbut got '{'"},
		{"resource ../x { }", "drbd.conf:1: '../x' cannot be the name of a resource"},
		{"skip foo }", "drbd.conf:1: Parse error: '{' expected,\n\tbut got '}'"},
		{"skip {\n{ }", "drbd.conf:2: Parse error: '}' expected,\n\tbut got end of file"},
		{"include \"x\";", "drbd.conf:1: include 'x': not possible here"},
		{"resource r0 {\nnet { shared-secret \"abc; } }\n}", "drbd.conf:2: Parse error: the string that begins here has no closing '\"' on its line"},
		{"\"abc", "drbd.conf:1: Parse error: the string that begins here has no closing '\"' on its line"},
		{"resource r0 { stacked-on-top-of r1 { } }", "drbd.conf:1: in resource r0, referenced resource 'r1' not defined."},
		{"resource r0 { disk { resync-rat 10M; } }", "drbd.conf:1: Parse error: 'an option keyword' expected,\n\tbut got 'resync-rat' (did you mean 'resync-rate'?)"},
		{"resource r0 { net { nonsense 1; } }", "drbd.conf:1: Parse error: 'an option keyword' expected,\n\tbut got 'nonsense'"},
		{"resource r0 {\nhandlers { splitbrain x; } }", "drbd.conf:2: Parse error: 'an option keyword' expected,\n\tbut got 'splitbrain' (did you mean 'split-brain'?)"},
		{"global { bogus 3; }", "drbd.conf:1: Parse error: '" + globalWords + "' expected,\n\tbut got 'bogus'"},
		{"global { usage-count maybe; }", "drbd.conf:1: unknown usage-count 'maybe', should be one of yes,no,ask"},
		{"global { minor-count 0; }", "drbd.conf:1: minor-count 0 => 0 out of range [1..255]."},
		{"global { }\nglobal { }", "drbd.conf:2: conflicting use of global section 'global' ...\ndrbd.conf:1: global section 'global' first used here."},
		{"common { }\ncommon { }", "drbd.conf:2: conflicting use of resource section 'common' ...\ndrbd.conf:1: resource section 'common' first used here."},
		{"resource r0 { on n1 { address 1.2.3.4:5; } on n1 { } }", "drbd.conf:1: conflicting use of host section 'r0: on n1' ...\ndrbd.conf:1: host section 'r0: on n1' first used here."},
		{pair("volume 0 { device /dev/drbd1; meta-disk internal; }"), "drbd.conf:2: in resource r0, on n1 { ... }: 'disk' keyword missing.\n" +
			"drbd.conf:2: in resource r0, on n2 { ... }: 'disk' keyword missing."},
		{"resource r0 { on n1 { " + volumeBody + " address 127.0.0.1:77; }\non n2 { address 127.0.0.2:77; } }",
			"drbd.conf:2: in resource r0, on n2 { ... }: volume 0 missing (present on n1)"},
		{pair(volumeBody) + strings.Replace(pair(volumeBody), "r0", "r1", 1),
			"drbd.conf:4: conflicting use of IP 'n1:127.0.0.1:77' ...\ndrbd.conf:2: IP 'n1:127.0.0.1:77' first used here."},
		{pair(volumeBody) + pair(""), "drbd.conf:3: conflicting use of resource section 'r0' ...\ndrbd.conf:1: resource section 'r0' first used here."},
		{pair(volumeBody) + strings.NewReplacer("r0", "r1", ":77", ":78").Replace(pair(volumeBody)),
			"drbd.conf:3: conflicting use of device-minor 'device-minor:n1:1' ...\ndrbd.conf:1: device-minor 'device-minor:n1:1' first used here."},
		{pair(volumeBody) + strings.NewReplacer("r0", "r1", ":77", ":78", "drbd1", "drbd2").Replace(pair(volumeBody)),
			"drbd.conf:3: conflicting use of disk 'disk:n1:/dev/x' ...\ndrbd.conf:1: disk 'disk:n1:/dev/x' first used here."},
	} {
		_, err := Parse("drbd.conf", []byte(c.src), nil)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s\n got %v\nwant %s", c.src, err, c.want)
		}
	}
}

func TestOptions(t *testing.T) {
	c := mustParse(t, "common { net { protocol A; ping-int 3; } disk { resync-rate 5M; } }\n"+
		pair(volumeBody+"net { timeout 10; no-allow-two-primaries; shared-secret \"a \\\"b\\\" c\"; }\n"+
			"syncer { rate 10M; verify-alg sha1; }\ndisk { size 1G; no-disk-flushes; quorum 7; c-max-rate 2048; }\n"+
			"options { cpu-mask 3; } disk { quorum 8; }"))
	r, _ := c.Resource("r0")
	net, disk := r.Net(), r.Disk(nil)
	for _, got := range []struct {
		what string
		have any
		want any
	}{
		{"protocol", r.Protocol(), "A"},
		{"ping-int", net.Number("ping-int", 10), int64(3)},
		{"ping-timeout", net.Number("ping-timeout", 5), int64(5)},
		{"timeout", net.Number("timeout", 60), int64(10)},
		{"secret", net.Text("shared-secret", ""), `a "b" c`},
		{"two primaries", net.Bool("allow-two-primaries", true), false},
		{"verify", net.Text("verify-alg", ""), "sha1"},
		{"rate", disk.Number("resync-rate", 250), int64(10240)},
		{"rate in bytes", disk.Bytes("resync-rate", 0), int64(10 << 20)},
		{"rate without suffix", disk.Bytes("c-max-rate", 0), int64(2 << 20)},
		{"size", disk.Number("size", 0), int64(2 << 20)},
		{"size in bytes", disk.Bytes("size", 0), int64(1 << 30)},
		{"flushes", disk.Bool("disk-flushes", true), false},
		{"none", disk.Bytes("c-min-rate", 77), int64(77)},
	} {
		if got.have != got.want {
			t.Errorf("%s: %v, want %v", got.what, got.have, got.want)
		}
	}
	want := []string{"drbd.conf:4: option 'quorum' of section disk belongs to DRBD 9, ignored",
		"drbd.conf:5: option 'cpu-mask' of section options has no effect in holdfast"}
	if d := cmp.Diff(want, c.Warnings); d != "" {
		t.Error(d)
	}
}

func TestInclude(t *testing.T) {
	files := map[string][]File{
		"/etc/drbd.d/global_common.conf": {{"/etc/drbd.d/global_common.conf", []byte("global { usage-count no; }")}},
		"/etc/drbd.d/*.res":              {{"/etc/drbd.d/r.res", []byte(pair(volumeBody))}},
		"/etc/drbd.d/*.none":             nil,
		"/etc/loop":                      {{"/etc/loop", []byte("include \"loop\";")}},
		"/etc/drbd.d/bad":                {{"/etc/drbd.d/bad", []byte("\n\nbad")}},
	}
	include := func(pattern string) ([]File, error) { return files[pattern], nil }
	c, err := Parse("/etc/drbd.conf", []byte("include \"drbd.d/global_common.conf\";\ninclude \"drbd.d/*.res\";include /etc/drbd.d/*.none;"), include)
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := c.Resource("r0"); !ok || r.Pos.String() != "/etc/drbd.d/r.res:1" {
		t.Errorf("resource %+v", r)
	}
	for src, want := range map[string]string{
		"\ninclude \"nosuch\";":   "/etc/drbd.conf:2: Failed to open include file 'nosuch'.",
		"include \"loop\";":       "/etc/loop:1: include 'loop': files include one another more than 16 deep",
		"include \"drbd.d/bad\";": "/etc/drbd.d/bad:3: Parse error: 'global | common | resource | skip | include' expected,\n\tbut got 'bad'",
	} {
		if _, err := Parse("/etc/drbd.conf", []byte(src), include); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range corpus(f) {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte("include \"x\"; skip { { } }"))
	f.Add([]byte(pair("floating ipv6 [::1]:7; " + volumeBody)))
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Parse("f", src, func(string) ([]File, error) { return []File{{"g", []byte("skip {}")}}, nil })
		if err != nil {
			if !regexp.MustCompile(`^[fg]:\d+: `).MatchString(err.Error()) {
				t.Fatalf("no place in %q", err)
			}
			return
		}
		dump := c.Dump("n1")
		again, err := Parse("f", []byte(dump), nil)
		if err != nil {
			t.Fatalf("dump does not parse: %v\n%s", err, dump)
		}
		names := func(c *Config) (all []string) {
			for _, r := range c.Resources {
				all = append(all, r.Name)
			}
			return all
		}
		if !slices.Equal(names(c), names(again)) {
			t.Fatalf("resources %q became %q", names(c), names(again))
		}
	})
}
