package process

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestParseStat(t *testing.T) {
	s, err := parseStat([]byte("42 (a) b (c) S 7 40 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n"))
	if err != nil || s != (Stat{State: 'S', Parent: 7, Session: 41, Start: 987654}) {
		t.Errorf("%+v %v", s, err)
	}
	for _, bad := range []string{"", "42", "42 (x", "42 (x) S", "42 (x) S a b c d e f g h i j k l m n o p q r s t u"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	own, err := ReadStat(os.Getpid())
	if err != nil || own.Parent != os.Getppid() || own.Start == 0 {
		t.Errorf("own: %+v %v", own, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) b (c) S 7 40 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseStat(data) })
}

func TestTail(t *testing.T) {
	for _, size := range []int{0, 1, 9, 10, 11, 99, 1000} {
		for _, step := range []int{1, 3, 7, 1000} {
			in := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
			w := newTail(10)
			for rest := in; len(rest) > 0; {
				n := min(step, len(rest))
				if got, err := w.Write(rest[:n]); got != n || err != nil {
					t.Fatal(got, err)
				}
				rest = rest[n:]
			}
			out := string(w.bytes())
			switch {
			case size <= 10 && out != string(in):
				t.Errorf("size %d, step %d: %q", size, step, out)
			case size > 10 && (!strings.HasPrefix(out, string(in[:5])+"\n[") || !strings.HasSuffix(out, "\n"+string(in[size-5:]))):
				t.Errorf("size %d, step %d: %q", size, step, out)
			}
		}
	}
}

func TestMissingCommand(t *testing.T) {
	exit := Run(t.Context(), Command{Path: "/no/such/program"})
	if exit.Err == nil || !strings.Contains(exit.Err.Error(), "/no/such/program") {
		t.Errorf("%+v", exit)
	}
}
