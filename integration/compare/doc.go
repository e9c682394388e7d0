// Package compare measures the envelope beside age and JWE, with the same points
// in the same run:
//
//	cd integration/compare && go test -bench .
//
// It is a module of its own, so that the libraries it compares with are no
// dependency of Fieldseal's.
package compare
