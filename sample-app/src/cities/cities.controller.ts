import {
  BadRequestException,
  Controller,
  DefaultValuePipe,
  Get,
  HttpCode,
  Param,
  ParseIntPipe,
  Post,
  Query,
} from '@nestjs/common';
import { CitiesService } from './cities.service.js';

const MAX_KM = 1000;
const MAX_PAGE_NAME = 100;

@Controller()
export class CitiesController {
  constructor(private readonly cities: CitiesService) {}

  /** A city, and how often it has been looked at. */
  @Get('cities/:id')
  async find(@Param('id', ParseIntPipe) id: number) {
    const city = await this.cities.find(id);
    return { ...city, visits: await this.cities.visit(`city ${id}`) };
  }

  /** The cities within `km` kilometres (50 by default) of a city. */
  @Get('cities/:id/near')
  async near(
    @Param('id', ParseIntPipe) id: number,
    @Query('km', new DefaultValuePipe(50), ParseIntPipe) km: number,
  ) {
    if (km < 1 || km > MAX_KM) throw new BadRequestException(`km must be from 1 to ${MAX_KM}`);
    return this.cities.near(id, km);
  }

  /** Counts a visit of any page. */
  @Post('visits/:page')
  @HttpCode(200)
  async visit(@Param('page') page: string) {
    if (page.length > MAX_PAGE_NAME) throw new BadRequestException(`page is longer than ${MAX_PAGE_NAME}`);
    return { page, visits: await this.cities.visit(`page ${page}`) };
  }
}
