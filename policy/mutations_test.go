package policy_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var mutate = flag.Bool("mutate", false, "run the tests with each mutation, which takes ten minutes")

// TestMutations holds the tests to it that each condition which decides what
// leaves is looked at: with any of them turned wrong, a test fails. By itself it
// only looks whether the list is still one of this code.
//
//	go test ./policy -run TestMutations -mutate -v -timeout 60m
func TestMutations(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.what, func(t *testing.T) {
			path, err := filepath.Abs(filepath.Join("..", m.file))
			require.NoError(t, err)
			source, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(source), m.old), "the code is another one now: write the mutation for it")
			if !*mutate {
				return
			}
			dir := t.TempDir()
			mutated, overlay := filepath.Join(dir, "mutated.go"), filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(mutated, []byte(strings.Replace(string(source), m.old, m.with, 1)), 0o600))
			replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(overlay, replace, 0o600))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			run := exec.CommandContext(ctx, "go", "test", "-failfast", "-skip", "TestMutations", "-overlay", overlay, "./"+filepath.Dir(m.file))
			run.Dir = ".."
			out, err := run.CombinedOutput()
			require.Error(t, err, "nothing looks at it")
			require.NotContains(t, string(out), "[build failed]")
			require.NotContains(t, string(out), "[setup failed]")
			t.Log("caught by", regexp.MustCompile(`(?m)^--- FAIL: (\S+)`).FindAllStringSubmatch(string(out), 1))
		})
	}
}

// mutations are the conditions, what each is turned into, and the test that fails
// first then.
var mutations = []struct{ file, what, old, with, by string }{
	{"policy/compile.go", "until: not the first that ends", "until.Before(t.Until)", "until.After(t.Until)", "TestTheLongestExceptionCounts"},
	{"policy/compile.go", "until: zero counts", "if !until.IsZero() && (", "if (", "TestEveryCombination"},
	{"policy/compile.go", "until: first never set", "t.Until.IsZero() || until", "false && t.Until.IsZero() || until", "TestEveryCombination"},
	{"policy/compile.go", "place: unknown is the loosest", "\treturn len(p.Levels)\n}", "\treturn 0\n}", "TestEveryCombination"},
	{"policy/compile.go", "label: unlabelled takes the loosest", `level, rule = p.place(p.Default), "policy default"`, `level, rule = 0, "policy default"`, "TestEveryCombination"},
	{"policy/compile.go", "label: unknown stays unknown", "if i > 0 && p.Levels[i-1].Send != SendClear {", "if false {", "TestEveryCombination"},
	{"policy/compile.go", "label: unknown may be clear", "if i > 0 && p.Levels[i-1].Send != SendClear {", "if i > 0 {", "TestEveryCombination"},
	{"policy/compile.go", "label: one too many", "\t\t\tlevel--\n", "\t\t\tlevel -= 2\n", "TestEveryCombination"},
	{"policy/compile.go", "label: own label ignored", "level, rule = i, pt.Where", "level, rule = p.place(p.Default), pt.Where", "TestEveryCombination"},
	{"policy/compile.go", "raise: loosens", "if to > level && matches", "if to < level && matches", "TestEveryCombination"},
	{"policy/compile.go", "raise: always", "if to > level && matches", "if matches", "TestEveryCombination"},
	{"policy/compile.go", "raise: all points", "to > level && matches(r.Points, machine, pt.Name)", "to > level", "TestCompile"},
	{"policy/compile.go", "raise: never", "if to > level && matches", "if false && to > level && matches", "TestEveryCombination"},
	{"policy/compile.go", "address: never unified", `points[i].Address != "" && levels[j] > levels[i] {`, `points[i].Address != "" && false && levels[j] > levels[i] {`, "TestEveryCombination"},
	{"policy/compile.go", "address: loosest rules", "!seen || levels[i] > levels[j]", "!seen || levels[i] < levels[j]", "TestEveryCombination"},
	{"policy/compile.go", "address: last rules", "!seen || levels[i] > levels[j]", "!seen || true || levels[i] > levels[j]", "TestEveryCombination"},
	{"policy/compile.go", "address: none is one", `points[i].Address != "" && levels[j]`, "levels[j]", "TestSameAddressTakesTheStricterLevel"},
	{"policy/compile.go", "release: unknown level", "level == len(p.Levels) || p.Levels[level].Send != SendClear", "level < len(p.Levels) && p.Levels[level].Send != SendClear", "TestUnknownDefault"},
	{"policy/compile.go", "release: sealed levels too", "p.Levels[level].Send != SendClear {\n\t\treturn level, rule", "p.Levels[level].Send == SendSealed {\n\t\treturn level, rule", "TestCompile"},
	{"policy/compile.go", "release: clear needs no release", "p.Levels[level].Send != SendClear {\n\t\treturn level, rule", "true {\n\t\treturn level, rule", "TestEveryCombination"},
	{"policy/compile.go", "release: for all points", "matches(p.Released[i].Points, machine, pt.Name) {", "true {", "TestCompile"},
	{"policy/compile.go", "release: needs no label", `pt.Label != "" && matches`, "matches", "TestEveryCombination"},
	{"policy/compile.go", "release: for none", "matches(p.Released[i].Points, machine, pt.Name) {", "false {", "TestEveryCombination"},
	{"policy/compile.go", "release: next level may be clear", "for level < len(p.Levels) && p.Levels[level].Send == SendClear {\n\t\tlevel++", "for range 1 {\n\t\tlevel++", "TestEveryCombination"},
	{"policy/compile.go", "release: not the default", "return max(level, p.place(p.Default)), rule + why", "return level, rule + why", "TestEveryCombination"},
	{"policy/compile.go", "release: the default alone", "return max(level, p.place(p.Default)), rule + why", "return p.place(p.Default), rule + why", "TestEveryCombination"},
	{"policy/compile.go", "treat: withheld by approval leaves", `if pt.Withheld != "" {`, "if false {", "TestEveryCombination"},
	{"policy/compile.go", "treat: withheld level leaves", "if l.Send == SendWithheld {", "if false {", "TestEveryCombination"},
	{"policy/compile.go", "wrap at a clear level leaves", "if pt.Wrap && l.Send == SendClear {", "if false {", "TestEveryCombination"},
	{"policy/compile.go", "wrap: all clear stop", "if pt.Wrap && l.Send == SendClear {", "if l.Send == SendClear {", "TestEveryCombination"},
	{"policy/compile.go", "wrap: sealed ones stop", "if pt.Wrap && l.Send == SendClear {", "if pt.Wrap {", "TestEveryCombination"},
	{"policy/compile.go", "connection: not asked", "if negotiated < l.Connection {", "if false {", "TestEveryCombination"},
	{"policy/compile.go", "connection: one grade less will do", "if negotiated < l.Connection {", "if negotiated+1 < l.Connection {", "TestEveryCombination"},
	{"policy/compile.go", "connection: equal is too little", "if negotiated < l.Connection {", "if negotiated <= l.Connection && l.Connection > 0 {", "TestEveryCombination"},
	{"policy/compile.go", "exception: none counts", "\t\tif e != nil {", "\t\tif false {", "TestEveryCombination"},
	{"policy/compile.go", "exception: not needed, noted", "\t\tif e != nil {\n\t\t\tuntil = e.Until", "\t\tif e != nil {", "TestEveryCombination"},
	{"policy/compile.go", "connection: passthrough stops too", "} else if exposed = true; !passed {", "} else if exposed = true; true {", "TestEveryCombination"},
	{"policy/compile.go", "connection: nothing stops", "} else if exposed = true; !passed {", "} else if exposed = true; false {", "TestEveryCombination"},
	{"policy/compile.go", "exposed: forgotten", "} else if exposed = true; !passed {", "} else if exposed = false; !passed {", "TestEveryCombination"},
	{"policy/compile.go", "passed: never", "\tcase passed:", "\tcase false && passed:", "TestEveryCombination"},
	{"policy/compile.go", "passed: wrap forgotten", "d.Treatment, d.Wrap = Passed, pt.Wrap", "d.Treatment = Passed", "TestEveryCombination"},
	{"policy/compile.go", "passed: wrap always", "d.Treatment, d.Wrap = Passed, pt.Wrap", "d.Treatment, d.Wrap = Passed, true", "TestEveryCombination"},
	{"policy/compile.go", "readable: sealed though exposed", "if exposed || l.Send == SendClear {", "if exposed && false || l.Send == SendClear {", "TestEveryCombination"},
	{"policy/compile.go", "readable: sealed at a clear level", "if exposed || l.Send == SendClear {", "if exposed {", "TestEveryCombination"},
	{"policy/compile.go", "readable: always held", "if exposed || l.Send == SendClear {", "if exposed || true {", "TestEveryCombination"},
	{"policy/compile.go", "readable: probation forgotten", "d.Readable, d.Probation = Withheld, Withheld", "d.Readable = Withheld", "TestEveryCombination"},
	{"policy/compile.go", "readable: not withheld", "d.Readable, d.Probation = Withheld, Withheld", "d.Probation = Withheld", "TestEveryCombination"},
	{"policy/compile.go", "readable: hold has no effect", "if p.Passthrough.IfReadable == HoldReadable {", "if false {", "TestEveryCombination"},
	{"policy/compile.go", "readable: seal has no effect", "if p.Passthrough.IfReadable == HoldReadable {", "if true {", "TestEveryCombination"},
	{"policy/compile.go", "readable: hold lets out", "\t\t\td.Readable = Withheld\n", "\t\t\td.Readable = Passed\n", "TestEveryCombination"},
	{"policy/compile.go", "clear: never", "\tcase l.Send == SendClear:\n\t\td.Treatment = Clear", "\tcase false:\n\t\td.Treatment = Clear", "TestEveryCombination"},
	{"policy/compile.go", "clear: sealed levels too", "\tcase l.Send == SendClear:\n\t\td.Treatment = Clear", "\tcase true:\n\t\td.Treatment = Clear", "TestEveryCombination"},
	{"policy/compile.go", "readers: no format is one", `if pt.Passthrough == "" || len`, "if len", "TestEveryCombination"},
	{"policy/compile.go", "readers: nobody is enough", "len(pt.ReadableBy) == 0 || ", "", "TestEveryCombination"},
	{"policy/compile.go", "readers: every format", "|| !slices.Contains(p.Passthrough.Accept, pt.Passthrough) {", "{", "TestEveryCombination"},
	{"policy/compile.go", "readers: of a clear level too", "if l.Send == SendSealed && !slices", "if !slices", "TestEveryCombination"},
	{"policy/compile.go", "readers: anybody", "if l.Send == SendSealed && !slices.Contains(l.To, r) {", `if false && r != "" {`, "TestEveryCombination"},
	{"policy/compile.go", "readers: one of them is enough", "\t\tif l.Send == SendSealed && !slices.Contains(l.To, r) {\n\t\t\treturn false\n\t\t}\n\t}\n\treturn true", "\t\tif l.Send == SendClear || slices.Contains(l.To, r) {\n\t\t\treturn true\n\t\t}\n\t}\n\treturn false", "TestEveryCombination"},
	{"policy/compile.go", "exception: encrypted for authenticated", "\tif asked == point.Encrypted {\n\t\twant", "\tif true {\n\t\twant", "TestEveryCombination"},
	{"policy/compile.go", "exception: authenticated for encrypted", "\tif asked == point.Encrypted {\n\t\twant", "\tif false {\n\t\twant", "TestEveryCombination"},
	{"policy/compile.go", "exception: either", "if e.Allow != want || !now", "if e.Allow != want && false || !now", "TestEveryCombination"},
	{"policy/compile.go", "exception: past its day", "!now.Before(e.Until) || ", "", "TestEveryCombination"},
	{"policy/compile.go", "exception: on its last instant", "!now.Before(e.Until)", "now.After(e.Until)", "TestEveryCombination"},
	{"policy/compile.go", "exception: for all points", "|| !matches(e.Points, machine, name) {", "{", "TestEveryCombination"},
	{"policy/compile.go", "exception: the shortest", "e.Until.After(best.Until)", "e.Until.Before(best.Until)", "TestTheLongestExceptionCounts"},
	{"policy/compile.go", "exception: the last", "best == nil || e.Until.After(best.Until)", "true", "TestTheLongestExceptionCounts"},
	{"policy/compile.go", "patterns: all must match", "return slices.ContainsFunc(patterns, func(p Pattern) bool { return p.Match(machine, name) })", "return len(patterns) > 0 && !slices.ContainsFunc(patterns, func(p Pattern) bool { return !p.Match(machine, name) })", "TestEveryCombination"},
	{"policy/compile.go", "patterns: machine alone", "return p.Match(machine, name) })", "return p.MatchMachine(machine) })", "TestEveryCombination"},
	{"policy/compile.go", "EndOfDays: is now", "time.Unix(1<<63-62135596801, 999_999_999)", "time.Unix(1<<40, 0)", "TestEndOfDays"},
	{"policy/compile.go", "EndOfDays: year 9999", "time.Unix(1<<63-62135596801, 999_999_999)", "time.Unix(253402300799, 0)", "TestEndOfDays"},
	{"policy/compile.go", "Stricter: the looser", "(j >= 0 && i >= j)", "(j >= 0 && i < j)", "TestStricter"},
	{"policy/compile.go", "Stricter: unknown is loose", "if i < 0 || (j", "if (j", "TestStricter"},
	{"policy/compile.go", "Stricter: unknown second is loose", "(j >= 0 && i >= j)", "(i >= j)", "TestStricter"},
	{"configs/approved.go", "judge: without approvers all is refused", "\tif l.approvals == nil {\n\t\treturn\n\t}\n\tif s.copy", "\tif s.copy", "TestApproved"},
	{"configs/approved.go", "judge: a bad note will do", "if s.copy.Note, s.err = readNote(s.path + SignatureSuffix); s.err != nil {\n\t\treturn", "if s.copy.Note, s.err = readNote(s.path + SignatureSuffix); s.err != nil {\n\t\ts.err = nil; return", "TestApproved"},
	{"configs/approved.go", "judge: not checked", "\tif s.approval, s.err = l.approvals.Check(s.kind, s.copy); s.err == nil {", "\tif s.approval, s.err = l.approvals.Check(s.kind, s.copy); true {\n\t\ts.err = nil", "TestPolicyAndTrustBelongTogether"},
	{"configs/approved.go", "judge: what was accepted needs no same file", "if !ok || !bytes.Equal(last.File, s.copy.File) {", "if !ok {", "TestPolicyAndTrustBelongTogether"},
	{"configs/approved.go", "judge: nothing accepted goes on", "if !ok || !bytes.Equal(last.File, s.copy.File) {", "if true || !ok || !bytes.Equal(last.File, s.copy.File) {", "TestChangeOfApprovers"},
	{"configs/approved.go", "judge: another note of the same file", "err == nil && a.Digest() == accepted.Digest() {\n\t\ts.approval", "err == nil && (true || a.Digest() == accepted.Digest()) {\n\t\ts.approval", "TestNotesThatSayMore"},
	{"configs/approved.go", "named: kept although it cannot be", "if l.notKept != nil && s.err == nil && s.approval != nil {", "if false && l.notKept != nil && s.err == nil && s.approval != nil {", "TestNothingNewCanBeKept"},
	{"configs/approved.go", "named: refused although it was kept", "ok && accepted.Digest() == s.approval.Digest() {\n\t\t\ts.copy = last", "ok && accepted.Digest() == s.approval.Digest() && false {\n\t\t\ts.copy = last", "TestNothingNewCanBeKept"},
	{"configs/approved.go", "named: anything kept before counts", "ok && accepted.Digest() == s.approval.Digest() {\n\t\t\ts.copy = last", "ok && (true || accepted.Digest() == s.approval.Digest()) {\n\t\t\ts.copy = last", "TestNothingNewCanBeKept"},
	{"configs/approved.go", "trust: not as it was signed", "if err := s.approval.MatchesTrust(t.signed()); err != nil {", "if err := s.approval.MatchesTrust(t.signed()); err != nil && false {", "TestNotesThatSayMore"},
	{"configs/approved.go", "trust: a refused one is opened", "\tcase s.err != nil:\n\t\tl.problems", "\tcase false:\n\t\tl.problems", "TestOpenTrust"},
	{"configs/approved.go", "trust: one with problems is opened", "\tcase Fatal(l.problems):\n\t\treturn nil, approval.Copy{}", "\tcase false && Fatal(l.problems):\n\t\treturn nil, approval.Copy{}", "TestOpenTrust"},
	{"configs/approved.go", "approvers: changed without a place to keep them", "changed && l.notKept != nil {", "changed && false {", "TestNothingNewCanBeKept"},
	{"configs/approved.go", "approvers: never changed", "\t\t\tif changed {\n\t\t\t\tl.approvals", "\t\t\tif changed && false {\n\t\t\t\tl.approvals", "TestChangeOfApprovers"},
	{"configs/approved.go", "approvers: refused in silence", `	a.Refused = append(a.Refused, Refused{"approvers", p})`, "\t_ = p", "TestChangeOfApprovers"},
	{"configs/judged.go", "hold: nothing is judged", "if l.draft || by.policy == nil {", "if true || l.draft || by.policy == nil {", "TestZeroOptionsApproveNothing"},
	{"configs/judged.go", "hold: a draft is judged", "if l.draft || by.policy == nil {", "if by.policy == nil {", "TestApproved"},
	{"configs/judged.go", "hold: without approval nothing is said", "if by.approval == nil { // that", "if false { // that", "TestZeroOptionsApproveNothing"},
	{"configs/judged.go", "hold: without approval the rest is not taken", "\tif by.approval == nil { // that nothing is signed is said of the policy\n\t\treturn\n\t}\n", "\tif by.approval == nil {\n\t\tfor i := range points { r.m.Points[i].Point = j.said.Points[i].Policy }\n\t\treturn\n\t}\n", "TestZeroOptionsApproveNothing"},
	{"configs/judged.go", "hold: points as the file says", "\t\tr.m.Points[i].Point = points[i]\n", "\t\t_ = points[i]\n", "TestZeroOptionsApproveNothing"},
	{"configs/judged.go", "hold: refusals not noted", "j.whys[i], j.stricter[i] = verdicts[i].Refused, verdicts[i].Stricter", "j.stricter[i] = verdicts[i].Stricter", "TestNotesThatSayMore"},
	{"configs/judged.go", "hold: stricter ones not noted", "j.whys[i], j.stricter[i] = verdicts[i].Refused, verdicts[i].Stricter", "j.whys[i] = verdicts[i].Refused", "TestANewcomerLeavesOutItself"},
	{"configs/judged.go", "hold: all are listed", "if table.Has(&j.said, i) {", "if table.Has(&j.said, i) || true {", "TestANewcomerLeavesOutItself"},
	{"configs/judged.go", "rank: not by problems", "\tif c := cmp.Compare(min(*a.wrong, 1), min(*b.wrong, 1)); c != 0 || *a.wrong > 0 {\n\t\treturn c\n\t}\n", "\tif *a.wrong+*b.wrong > 0 {\n\t\treturn 0\n\t}\n", "TestMistakes"},
	{"configs/judged.go", "rank: not by what was signed", "cmp.Or(cmp.Compare(y.signed, x.signed), cmp", "cmp.Or(0, cmp", "TestANewcomerLeavesOutItself"},
	{"configs/judged.go", "rank: the other way round", "cmp.Compare(y.signed, x.signed)", "cmp.Compare(x.signed, y.signed)", "TestANewcomerLeavesOutItself"},
	{"configs/judged.go", "rank: not by the rest", "cmp.Compare(x.others(), y.others())", "0", "TestANewcomerLeavesOutItself"},
	{"configs/judged.go", "others: refused ones do not count", "if j.whys[i] != \"\" || j.stricter[i] != \"\" {\n\t\t\tn++", "if j.stricter[i] != \"\" {\n\t\t\tn++", "TestANewcomerLeavesOutItself"},
	{"configs/judged.go", "said: another server is the same", `unit = "sha256:" + hex.EncodeToString(m.OPCUA.Endpoint.ServerSHA256[:])`, `unit = "sha256:" + hex.EncodeToString(nil)`, "TestServerCertificateIsSigned"},
	{"configs/judged.go", "said: changes_with is not signed", "m.Modbus.Points[i].ChangesWith != nil { // when", "false { // when", "TestChangesWithIsSigned"},
	{"configs/judged.go", "said: device key is not signed", "DeviceKey: keyText(p.Guard.DeviceKey), ", "", "TestPassthroughKeys"},
	{"configs/judged.go", "said: key ids are not signed", ", KeyIDs: idTexts(p.Guard.KeyIDs)", "", "TestPassthroughKeys"},
	{"configs/judged.go", "said: overlaps do not count", "\t\tout.Parts = registers\n", "", "TestUnitsOfAnEndpoint"},
	{"configs/judged.go", "registers: the first alone", "range max(1, t.Registers(size))", "range max(1, 0*t.Registers(size))", "TestStricterLevelsOfOverlappingRegisters"},
	{"configs/judged.go", "registers: bits are words", "\treturn parts, bit\n}", "\treturn parts, \"\"\n}", "TestStricterLevelsOfOverlappingRegisters"},
	{"configs/approved.go", "refusal: no way out named", "\tif _, ok := errors.AsType[*notKept](s.err); ok {\n\t\tp.Instead", "\tif _, ok := errors.AsType[*notKept](s.err); ok && false {\n\t\tp.Instead", "TestNothingNewCanBeKept"},
	{"configs/judged.go", "said: units 0 and 255 are their own", "\t\tif !isSerial(m.Modbus.Endpoint) {\n", "\t\tif false {\n", "TestUnitsOfAnEndpoint"},
	{"configs/judged.go", "said: a device by its name alone", "unit = m.CoAP.identity()", "unit = m.Device()", "TestDeviceCredentialIsSigned"},
	{"configs/coap.go", "authorities: whichever are there", "if digest != c.TrustDigest {", "if false && digest != c.TrustDigest {", "TestAuthoritiesAreSigned"},
	{"configs/passthrough.go", "only: does not hold for passthrough", "if len(others) == 0 {", "if true {", "TestMistakes"},
	{"configs/passthrough.go", "only: in clear instead", "level.Send == policy.SendClear { // what", "false && level.Send == policy.SendClear { // what", "TestOnlyHoldsForPassthrough"},
	{"configs/load.go", "clock: trusted all the same", "\tif o.Untrusted != \"\" {\n", "\tif false {\n", "TestClockThatCannotBeTrusted"},
	{"configs/host.go", "hosts: a mapped address is another", "return a.Unmap().String(), nil\n\t}\n\tabsolute", "return a.String(), nil\n\t}\n\tabsolute", "TestAnotherNameOfASignedDevice"},
	{"configs/host.go", "hosts: short forms", "absolute == \"\" || isNumber(last)", "false && last == \"\"", "TestShortAddresses"},
	{"configs/rules.go", "unsigned: the signed machine goes", "return !mine && theirs || mine", "return mine && !theirs || mine", "TestCopiedMachineFile"},
	{"configs/rules.go", "unsigned: machines do not count", "return !mine && theirs || mine == theirs && d.newcomer", "return (mine || !mine) && (theirs || !theirs) && d.newcomer", "TestANewcomerLeavesOutItself"},
	{"configs/rules.go", "unsigned: points do not count", `mine == theirs && d.newcomer(m, i) != "" && d.newcomer(other, j) == ""`, "false", "TestAChangedLabelLeavesOutItsOwnFile"},
	{"configs/rules.go", "unsigned: both new", `d.newcomer(m, i) != "" && d.newcomer(other, j) == ""`, `d.newcomer(m, i) != ""`, "TestAChangedLabelLeavesOutItsOwnFile"},
	{"configs/rules.go", "unsigned: levels do not count", "if m.best[i].Level == other.best[j].Level || m.apart(i, other, j) {", "if m.apart(i, other, j) {", "TestCopiedMachineFile"},
	{"configs/rules.go", "unsigned: other bits count", "if m.best[i].Level == other.best[j].Level || m.apart(i, other, j) {", "if m.best[i].Level == other.best[j].Level {", "TestAChangedLabelLeavesOutItsOwnFile"},
	{"configs/rules.go", "newcomer: a stricter label is signed", `case j.stricter[i] != "":`, "case false:", "TestANewcomerLeavesOutItself"},
	{"configs/rules.go", "newcomer: a raise is signed", "case !j.listed[i] && level != d.policy.Default:", "case false:", "TestARaisedNewcomerLeavesOutItself"},
	{"configs/rules.go", "looser: the stricter goes", "return a != b && d.policy.Stricter(a, b) == b && !m.apart", "return a != b && d.policy.Stricter(a, b) == a && !m.apart", "TestAWayAroundALabelIsLeftOut"},
	{"configs/rules.go", "looser: nobody goes", "return a != b && d.policy.Stricter(a, b) == b && !m.apart", "return false && a != b && d.policy.Stricter(a, b) == b && !m.apart", "TestAWayAroundALabelIsLeftOut"},
	{"configs/rules.go", "looser: other bits count", "d.policy.Stricter(a, b) == b && !m.apart(i, other, j)", "d.policy.Stricter(a, b) == b", "TestMistakes"},
	{"configs/rules.go", "words: the first register alone", "words := make([]word, max(1, p.Type.Registers(p.Bytes)))", "words := make([]word, 1)", "TestMistakes"},
	{"configs/rules.go", "ends: never before", "\tif days > soon {", "\tif !over {", "TestExceptionThatEnds"},
	{"configs/rules.go", "ends: always before", "\tif days > soon {", "\tif false {", "TestApproved"},
	{"configs/rules.go", "ends: stops before its day", "Stops: over, Note: !over}", "Stops: true}", "TestExceptionThatEnds"},
	{"configs/judged.go", "hold: none is listed", "if table.Has(&j.said, i) {", "if table.Has(&j.said, i) && false {", "TestCopiedMachineFile"},
	{"policy/approval/apply.go", "payload: wrap is not compared", "return a.Wrap == b.Wrap && sameInside", "return sameInside", "TestWhatCountsAsCiphertext"},
	{"policy/approval/apply.go", "payload: format is not compared", " && a.Format == b.Format", "", "TestJudge"},
	{"policy/approval/apply.go", "payload: readers are not compared", " && slices.Equal(a.ReadableBy, b.ReadableBy)", "", "TestJudge"},
	{"policy/approval/apply.go", "payload: device key is not compared", "a.DeviceKey == b.DeviceKey && ", "", "TestWhatCountsAsCiphertext"},
	{"policy/approval/apply.go", "payload: key ids are not compared", " && slices.Equal(a.KeyIDs, b.KeyIDs)", "", "TestWhatCountsAsCiphertext"},
	{"policy/approval/apply.go", "restrict: wrap stays", `pt.Passthrough, pt.ReadableBy, pt.Wrap = "", nil, false`, `pt.Passthrough, pt.ReadableBy = "", nil`, "TestWhatCountsAsCiphertext"},
	{"policy/approval/apply.go", "floors: by name not kept", "if b.listed && !b.same && rank(p, b.entry.Level) > rank(p, b.plain) {", "if false {", "TestJudgeStricterLabels"},
	{"policy/approval/apply.go", "floors: by address not kept", "\t\t\t\tif rank(p, e.Level) <= rank(p, b.plain) {", "\t\t\t\tif true {", "TestJudgeStricterLabels"},
	{"policy/approval/apply.go", "floors: of the point itself too", "\t\tif !b.same {\n\t\t\tfor", "\t\tif true {\n\t\t\tfor", "TestJudgeStricterLabels"},
	{"policy/approval/apply.go", "allows: floors do not count", "if !within(j.p, level, f.level) {", "if false {", "TestJudgeStricterLabels"},
	{"policy/approval/apply.go", "known: nothing by another name", "\tknown := table.knows(m)\n", "\tknown := true\n", "TestAnotherNameOfADevice"},
	{"policy/approval/apply.go", "known: everything by another name", "\tknown := table.knows(m)\n", "\tknown := false\n", "TestUnitsThatMayBeAny"},
	{"policy/approval/overlaps.go", "knows: a unit of any endpoint", "e.Unit == unit && place(e.Endpoint, unit, \"\") == own", "e.Unit == unit && (true || place(e.Endpoint, unit, \"\") == own)", "TestAnotherNameOfADevice"},
	{"policy/approval/overlaps.go", "knows: an endpoint for all its units", "if i > 0 && unit == m.Points[i-1].Unit {", "if true {", "TestAnotherNameOfADevice"},
	{"policy/approval/overlaps.go", "units: 255 is one of its own", "if slices.Contains(o.m.AnyUnit, pt.Unit) {", "if false {", "TestUnitsThatMayBeAny"},
	{"policy/approval/overlaps.go", "units: 255 is none of the others", "keys = append(keys, place(o.m.Endpoint, unit, part))", "_ = unit", "TestUnitsThatMayBeAny"},
	{"policy/approval/table.go", "others: not signed", "\tt.Entries = append(t.Entries, t.others(machines, p)...)\n", "", "TestAnotherNameOfADevice"},
	{"policy/approval/overlaps.go", "place: a server by its URL", "\tif isIdentity(unit) {\n\t\tendpoint = \"\"\n\t}\n", "", "TestStricterNodeIsKnownByTheServerNotByItsURL"},
}
