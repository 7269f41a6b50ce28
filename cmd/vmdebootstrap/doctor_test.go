// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// doctor runs the verb and returns its output and exit status.
func doctor(t *testing.T, cmd *exec.Cmd) (d diagnosis, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		status = exit.ExitCode()
	}
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil || stderr.Len() > 0 {
		t.Fatalf("exit status %d: %v: %s%s", status, err, stdout.String(), stderr.String())
	}
	return d, status
}

func (d diagnosis) finding(name string) finding {
	for _, f := range d.Findings {
		if f.Name == name {
			return f
		}
	}
	return finding{}
}

func TestDoctorFindsThatBuildsRunHere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet", "there")
	d, status := doctor(t, vmdebootstrap(t, "doctor", "--json", "--state-dir", dir))
	if status != exitOK || !d.Builds || d.Isolation != oci.IsolationUserNS {
		t.Errorf("got exit status %d, %+v", status, d)
	}
	if f := d.finding("store"); f.State != stateOK || !strings.Contains(f.Text, dir) {
		t.Errorf("store: got %+v", f)
	}
	for _, f := range d.Findings {
		if f.Text == "" || f.State == stateOK && f.Fix != "" {
			t.Errorf("got %+v", f)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the state directory was made")
	}
}

// Issue 15, 8: doctor said that builds run here where the state directory cannot be written.
func TestDoctorFindsThatTheStoreCannotBeMade(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can write everywhere")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	d, status := doctor(t, vmdebootstrap(t, "doctor", "--json", "--state-dir", filepath.Join(dir, "new", "er")))
	if f := d.finding("store"); status != exitHost || d.Builds || f.State != stateMissing ||
		!strings.Contains(f.Text, dir) || !strings.Contains(f.Fix, "--state-dir") {
		t.Errorf("got exit status %d, %+v", status, d)
	}
}

func TestDoctorReportsWhatIsMissing(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root needs no newuidmap")
	}
	cmd := vmdebootstrap(t, "doctor", "--json", "--state-dir", t.TempDir())
	cmd.Env = append(os.Environ(), "PATH=/nowhere")
	d, status := doctor(t, cmd)
	f := d.finding(string(oci.IsolationUserNS))
	if status != exitOK || d.Isolation != oci.IsolationSingle || f.State != stateMissing ||
		!strings.Contains(f.Fix, "apt install uidmap") {
		t.Errorf("got exit status %d, %+v", status, d)
	}
}

func TestDoctorPrintsTheProfileForAppArmor(t *testing.T) {
	t.Parallel()
	report := oci.Report{AppArmor: true}
	f := checkAppArmor(report, "/opt/vmdebootstrap")
	if f.State != stateMissing ||
		!strings.Contains(f.Fix, `profile vmdebootstrap "/opt/vmdebootstrap" flags=(unconfined) {`) {
		t.Errorf("got %+v", f)
	}
	report.Isolation = oci.IsolationUserNS
	if f := checkAppArmor(report, "/opt/vmdebootstrap"); f.State != stateOK {
		t.Errorf("with a profile: got %+v", f)
	}
}

func TestDoctorPrintsALineForEachFinding(t *testing.T) {
	t.Parallel()
	refused := &oci.HostError{Cause: "no", Fix: "yes", Err: unix.EPERM}
	d := diagnosis{Findings: []finding{
		checkIsolation(oci.Candidate{Isolation: oci.IsolationUserNS, Err: refused}),
		checkIsolation(oci.Candidate{Isolation: oci.IsolationRoot, Err: refused, ForOthers: true}),
		checkMirror(environment{mirror: "http://mirror.example/debian"}),
	}}
	var out bytes.Buffer
	if err := d.print(&out); err != nil {
		t.Fatal(err)
	}
	const want = `NO  userns  no (operation not permitted)
            yes
-   root    namespaces of root, with the ids of the host: not for this user
ok  mirror  http://mirror.example/debian, from this machine's apt sources
builds cannot run here
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}
