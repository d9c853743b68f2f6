
/*
 * ngx_http_penstock_kill_point() for files that know nothing of nginx: a
 * moment at which a process may die, in the builds of tests.
 */

#ifndef _PS_FAULT_H_INCLUDED_
#define _PS_FAULT_H_INCLUDED_


#if (NGX_HTTP_PENSTOCK_FAULTS)

void ngx_http_penstock_fault(const char *point);

#define ps_kill_point(point)  ngx_http_penstock_fault(point)

#else

#define ps_kill_point(point)

#endif


#endif /* _PS_FAULT_H_INCLUDED_ */
