// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// envHelper makes the test binary a helper, see keepLifeline.
const envHelper = "VMDEBOOTSTRAP_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(envHelper) != "" {
		keepLifeline()
		return
	}
	os.Exit(m.Run())
}

// keepLifeline does what the helper vmdebootstrap-enter does between its start and the program that it becomes, while
// the garbage is collected, and prints whether it has the file still.
func keepLifeline() {
	_, err := Lifeline().Read(make([]byte, 1))
	for range 3 {
		collected := make(chan struct{})
		runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, collected)
		runtime.GC()
		<-collected
	}
	var st unix.Stat_t
	statErr := unix.Fstat(FdLifeline, &st)
	fmt.Println(err, statErr, st.Mode&unix.S_IFMT == unix.S_IFIFO)
}

// A build was killed where the garbage collector ran between these two: the program had no lifeline, and ended at once.
func TestLifelineIsKeptByTheGarbageCollector(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write([]byte{0}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envHelper+"=1")
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.CombinedOutput()
	if got := string(out); err != nil || got != "<nil> <nil> true\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
