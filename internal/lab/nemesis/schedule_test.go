package nemesis

import (
	"reflect"
	"testing"
)

func TestScheduleIsAFunctionOfTheSeed(t *testing.T) {
	for seed := range uint64(20) {
		for n := range 50 {
			if a, b := Schedule(seed, n), Schedule(seed, n); !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d step %d: %v and %v", seed, n, a, b)
			}
		}
	}
	if reflect.DeepEqual(Schedule(1, 0), Schedule(2, 0)) && reflect.DeepEqual(Schedule(1, 1), Schedule(2, 1)) {
		t.Error("two seeds give the same steps")
	}
}

// TestScheduleDrawsEverything: every kind at every place is reached, and none destroys the last copy.
func TestScheduleDrawsEverything(t *testing.T) {
	kinds, leaders := map[Kind]int{}, map[Part]bool{}
	for seed := range uint64(40) {
		leaders[Leader(seed)] = true
		for n := range 50 {
			s := Schedule(seed, n)
			kinds[s.First.Kind]++
			if s.First.Kind == NewDisk && (s.First.Where != Standby || s.Second != nil) {
				t.Errorf("seed %d step %d destroys too much: %v", seed, n, s)
			}
			if s.Second != nil && !pairable(s.First.Kind) {
				t.Errorf("seed %d step %d: %v is to be played alone", seed, n, s)
			}
		}
	}
	for _, k := range allKinds {
		if kinds[k] == 0 {
			t.Errorf("%s is never drawn", k)
		}
	}
	if len(leaders) != 3 {
		t.Errorf("leaders are %v, not each voter", leaders)
	}
}
