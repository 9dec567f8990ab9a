package cib

import (
	"math/rand/v2"
	"testing"
)

// FuzzPatch carries whatever can be read as a patch out on a document: the document stays as it was, and what comes of it can be
// read again.
func FuzzPatch(f *testing.F) {
	for seed := range uint64(20) {
		old, next := randomPair(rand.New(rand.NewPCG(seed, 3)))
		patch, err := Diff(old, next)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(old.Bytes(), patch.Bytes())
		patch.Del("digest")
		f.Add(next.Bytes(), patch.Bytes())
	}
	f.Fuzz(func(t *testing.T, text, change []byte) {
		doc, err := Parse(text)
		patch, bad := ParseElement(change)
		if err != nil || bad != nil {
			return
		}
		before := string(doc.Bytes())
		got, err := Patch(doc, patch)
		if string(doc.Bytes()) != before {
			t.Fatal("the document was changed")
		}
		if err != nil {
			return
		}
		if again, err := Parse(got.Bytes()); err == nil && string(again.Bytes()) != string(got.Bytes()) {
			t.Errorf("written\n%s\nread\n%s", got.Bytes(), again.Bytes())
		}
	})
}

// FuzzDiff compares any two documents: if they can be told apart at all, the patch makes one of the other.
func FuzzDiff(f *testing.F) {
	for seed := range uint64(20) {
		old, next := randomPair(rand.New(rand.NewPCG(seed, 4)))
		f.Add(old.Bytes(), next.Bytes())
	}
	f.Add([]byte(`<cib><a/><a/></cib>`), []byte(`<cib><a/></cib>`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		old, err := Parse(a)
		next, bad := Parse(b)
		if err != nil || bad != nil {
			return
		}
		patch, err := Diff(old, next)
		if err != nil {
			return
		}
		got := old
		if patch != nil {
			if got, err = Patch(old, patch); err != nil {
				t.Fatalf("%v\n%s", err, patch)
			}
		}
		if string(got.Bytes()) != string(next.Bytes()) {
			t.Errorf("got\n%s\nwant\n%s\nby\n%s", got.Bytes(), next.Bytes(), patch)
		}
	})
}

// FuzzCheck upgrades and validates whatever can be read: without a panic, and an upgraded document has nothing left to upgrade.
func FuzzCheck(f *testing.F) {
	for _, c := range olderConfigurations {
		f.Add([]byte(following(c.schema, c.configuration)))
	}
	f.Add([]byte(wrap(db, `<rsc_order id="o" first="db" then="db"/>`)))
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, err := Parse(text)
		if err != nil {
			return
		}
		for _, p := range Validate(doc) {
			_ = p.String()
		}
		got, _, err := Upgrade(doc)
		if err != nil {
			return
		}
		if _, notes, err := Upgrade(got); err != nil || len(notes) > 0 {
			t.Errorf("a second upgrade says %q, %v", notes, err)
		}
		_, _ = got.Digest(), DiskDigest(got.Root)
	})
}
