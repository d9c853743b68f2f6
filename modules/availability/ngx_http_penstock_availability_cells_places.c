
/*
 * Locations that cells in Redis were found to have which their requests did
 * not name.  The times of their invalidations are asked for together with the
 * next such cells, so a look that meets no other location is one round trip.
 *
 * Each worker process has its own, since it starts; what is missing here, or
 * too much, costs time only.
 */

#include "ngx_http_penstock_availability_cells.h"


#define NGX_HTTP_PENSTOCK_PLACES      64
#define NGX_HTTP_PENSTOCK_PLACE_TAG   "location,"


typedef struct {
    size_t       len;
    char         name[PS_TAG_MAX_LEN];
} ngx_http_penstock_place_t;


struct ngx_http_penstock_places_s {
    ngx_uint_t                  n;
    ngx_uint_t                  next;        /* to go for another one */
    ngx_http_penstock_place_t   place[NGX_HTTP_PENSTOCK_PLACES];
};


ngx_int_t
ngx_http_penstock_cells_places_setup(ngx_conf_t *cf,
    ngx_http_penstock_av_zone_t *zone)
{
    zone->places = ngx_pcalloc(cf->pool,
                               sizeof(ngx_http_penstock_places_t));

    return zone->places ? NGX_OK : NGX_ERROR;
}


ngx_int_t
ngx_http_penstock_cells_places_add(ngx_http_penstock_cells_t *c,
    ps_tags_t *tags)
{
    char                        *p;
    size_t                       len;
    ngx_uint_t                   i;
    ngx_http_penstock_place_t   *place;
    ngx_http_penstock_places_t  *places;

    if (c->axis[1].asked || c->conf->nid < PS_CELL_AXES) {
        return NGX_OK;
    }

    places = c->zone->places;
    len = 0;

    for (i = 0; i < places->n; i++) {
        len += places->place[i].len;
    }

    if (len == 0) {
        return NGX_OK;
    }

    /* another request may put others in their place */

    p = ngx_pnalloc(c->request->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < places->n && tags->n < PS_TAGS_MAX; i++) {
        place = &places->place[i];

        ngx_memcpy(p, place->name, place->len);
        ps_tags_add(tags, p, place->len);
        p += place->len;
    }

    return NGX_OK;
}


void
ngx_http_penstock_cells_places_learn(ngx_http_penstock_cells_t *c,
    ps_tags_t *tags, ngx_uint_t from)
{
    ps_tag_t                    *tag;
    ngx_uint_t                   i;
    ngx_http_penstock_place_t   *place;
    ngx_http_penstock_places_t  *places;

    if (c->axis[1].asked || c->conf->nid < PS_CELL_AXES) {
        return;
    }

    places = c->zone->places;

    for (i = from; i < tags->n; i++) {
        tag = &tags->tag[i];

        if (tag->len < sizeof(NGX_HTTP_PENSTOCK_PLACE_TAG)
            || ngx_memcmp(tag->name, NGX_HTTP_PENSTOCK_PLACE_TAG,
                          sizeof(NGX_HTTP_PENSTOCK_PLACE_TAG) - 1)
               != 0)
        {
            continue;
        }

        place = &places->place[places->next];

        ngx_memcpy(place->name, tag->name, tag->len);
        place->len = tag->len;

        places->next = (places->next + 1) % NGX_HTTP_PENSTOCK_PLACES;
        places->n = ngx_max(places->n, places->next);

        if (places->next == 0) {
            places->n = NGX_HTTP_PENSTOCK_PLACES;
        }
    }
}
